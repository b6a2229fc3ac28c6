"""The Assistant's tools: langchain-core tools or plain functions with type hints."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import BaseTool, StructuredTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from mars.errors import InvalidSetting, ModelUnavailable

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.language_models.base import LanguageModelInput
    from langchain_core.runnables import Runnable

    from mars.agents.interfaces import Action

READ_ONLY = "read_only"
"""Key of a tool's metadata; true if it changes nothing and needs no review."""

MAX_OUTPUT = 20_000
"""The most characters of a tool's output that enter a prompt."""


@dataclass(frozen=True, slots=True)
class Toolbox:
    """The tools of one Assistant, by name."""

    tools: Mapping[str, BaseTool] = field(default_factory=dict)
    """Name to tool."""

    @classmethod
    def of(cls, tools: Iterable[BaseTool | Callable[..., Any]]) -> Toolbox:
        """Return a toolbox of langchain-core tools and plain functions; raise `InvalidSetting` for two of one name."""
        made = [tool if isinstance(tool, BaseTool) else StructuredTool.from_function(tool) for tool in tools]
        names = [tool.name for tool in made]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise InvalidSetting(f"two tools have the same name: {', '.join(sorted(twice))}")
        return cls({tool.name: tool for tool in made})

    @property
    def schemas(self) -> dict[str, dict[str, Any]]:
        """JSON schema of the arguments of each tool."""
        return {
            name: convert_to_openai_tool(tool)["function"].get("parameters", {}) for name, tool in self.tools.items()
        }

    def read_only(self, name: str) -> bool:
        """Return whether the tool says of itself that it changes nothing."""
        tool = self.tools.get(name)
        return bool(tool and tool.metadata and tool.metadata.get(READ_ONLY))

    def bind(self, model: BaseChatModel) -> Runnable[LanguageModelInput, AIMessage]:
        """Return the model with the tools bound; the model itself if there are none."""
        if not self.tools:
            return model
        try:
            return model.bind_tools(list(self.tools.values()))
        except NotImplementedError as error:
            raise ModelUnavailable(
                f"the model {model._llm_type!r} cannot call tools; open Mars without tools"
            ) from error

    @staticmethod
    def reply(action: Action, text: str, *, failed: bool = False) -> ToolMessage:
        """Return a tool's reply to an action, cut to the most that a prompt takes."""
        if len(text) > MAX_OUTPUT:
            text = f"{text[:MAX_OUTPUT]}\n… cut: {len(text):,} characters in all"
        return ToolMessage(
            content=text, tool_call_id=action.id, name=action.tool, status="error" if failed else "success"
        )

    async def run(self, action: Action) -> ToolMessage:
        """Run an action; an error becomes the reply, verbatim."""
        tool = self.tools.get(action.tool)
        if tool is None:
            return self.reply(action, f"there is no tool {action.tool!r}", failed=True)
        try:
            result = await tool.ainvoke(dict(action.arguments))
        except Exception as error:  # noqa: BLE001 - a tool may raise anything; its words go to the Assistant
            return self.reply(action, f"{type(error).__name__}: {error}", failed=True)
        return self.reply(action, result if isinstance(result, str) else str(result))
