"""What people tell: topics with their questions, ways to say them, ways to announce a change, and values to draw.

A topic is told in clear words (`tell`), and a change of it is announced the way people do: in other words (`change`).
``{value}`` stands for the value; ``{name}``, ``{sister}``, ``{child}`` and ``{city}`` for names that the seed draws.
`others` is a similar fact about somebody else: noise that looks like an answer.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """One sort of fact in a user's life."""

    name: str
    """What it is, in a few words."""
    values: str
    """Which pool its values are drawn from; see `POOLS`, and "day" for a date."""
    ask: tuple[str, ...]
    """Questions for it."""
    tell: tuple[str, ...]
    """Clear statements of it, with ``{value}``."""
    change: tuple[str, ...]
    """Announcements that it is otherwise now, in other words, with ``{value}``."""
    others: tuple[str, ...]
    """The same of somebody else, with ``{value}`` and ``{name}``."""


TOPICS: tuple[Topic, ...] = (
    Topic(
        name="dentist appointment",
        values="day",
        ask=("When is my dentist appointment?", "What day is my dentist appointment?"),
        tell=(
            "My dentist appointment is on {value}.",
            "Remember that my dentist appointment is on {value}.",
            "I told the office that my dentist appointment is on {value}.",
        ),
        change=(
            "The clinic called: the dentist moved my visit to {value} instead.",
            "Change of plan, the dentist can only see me on {value}.",
            "The dentist's assistant rang, we postponed it to {value}.",
        ),
        others=("My neighbour {name} has to see a doctor on {value}.", "{name} goes to the dentist on {value}."),
    ),
    Topic(
        name="flight to {city}",
        values="day",
        ask=("When does my flight to {city} leave?", "What day is my flight to {city}?"),
        tell=(
            "My flight to {city} leaves on {value}.",
            "I have booked it: my flight to {city} leaves on {value}.",
            "Just so you know, my flight to {city} leaves on {value}.",
        ),
        change=(
            "The airline rebooked me, I now fly to {city} on {value}.",
            "They cancelled that plane to {city}; I am on the one of {value} instead.",
            "My trip to {city} has been moved, departure is {value} now.",
        ),
        others=("{name} travels to the coast on {value}.", "{name} has a flight home on {value}."),
    ),
    Topic(
        name="piano recital",
        values="day",
        ask=("When is my daughter's piano recital?",),
        tell=(
            "My daughter's piano recital is on {value}.",
            "We are all excited, my daughter's piano recital is on {value}.",
            "Please keep in mind that my daughter's piano recital is on {value}.",
        ),
        change=(
            "The music school wrote: the recital had to be postponed to {value}.",
            "Because of the heating they have moved the recital to {value}.",
            "New date for the recital of my daughter: {value}.",
        ),
        others=("{name} gives a small concert on {value}.",),
    ),
    Topic(
        name="where the book club meets",
        values="cafe",
        ask=("Where does my book club meet?",),
        tell=(
            "My book club meets at the {value}.",
            "As always, my book club meets at the {value}.",
            "By the way, my book club meets at the {value}.",
        ),
        change=(
            "The book club has moved, we get together at the {value} from now on.",
            "Our old room is taken, so the club gathers at the {value} now.",
            "We voted: the book club is at the {value} instead.",
        ),
        others=("{name} plays chess at the {value}.", "I had soup with {name} at the {value}."),
    ),
    Topic(
        name="where the spare key is",
        values="hiding_place",
        ask=("Where is my spare key?", "Where do I keep my spare key?"),
        tell=(
            "I keep my spare key {value}.",
            "For emergencies: I keep my spare key {value}.",
            "If I ever lock myself out, I keep my spare key {value}.",
        ),
        change=(
            "I have moved the key; it is {value} now.",
            "That hiding place was too obvious, so the key is {value} instead.",
            "New home for the spare one: {value}.",
        ),
        others=("{name} leaves the parcels {value}.",),
    ),
    Topic(
        name="where {sister} lives",
        values="city",
        ask=("Where does my sister {sister} live?", "Which city does my sister {sister} live in?"),
        tell=(
            "My sister {sister} lives in {value}.",
            "My sister {sister} lives in {value} with her two cats.",
            "I told you that my sister {sister} lives in {value}.",
        ),
        change=(
            "{sister} has moved, her new home is {value}.",
            "{sister} found a job in {value} and has moved there.",
            "{sister} no longer lives there, she is in {value} now.",
        ),
        others=("{name} grew up in {value}.", "{name} spent the weekend in {value}."),
    ),
    Topic(
        name="piano teacher",
        values="person",
        ask=("Who is my piano teacher?",),
        tell=(
            "My piano teacher is {value}.",
            "My piano teacher is {value}, who lives upstairs.",
            "My piano teacher is {value} and I like the lessons.",
        ),
        change=(
            "My teacher has retired, now I learn the piano with {value}.",
            "I have changed lessons: {value} teaches me the piano now.",
            "From now on it is {value} who gives me piano lessons.",
        ),
        others=("{name} takes singing lessons with {value}.",),
    ),
    Topic(
        name="doctor",
        values="person",
        ask=("Who is my family doctor?", "What is the name of my family doctor?"),
        tell=(
            "The name of my family doctor is {value}.",
            "My family doctor is {value}.",
            "My family doctor is {value}, near the station.",
        ),
        change=(
            "I have switched practices, {value} is my doctor now.",
            "My old doctor closed the practice, so I go to {value} instead.",
            "From now on {value} is the doctor for all of us.",
        ),
        others=("{name} is happy with {value} as a lawyer.",),
    ),
    Topic(
        name="bike lock code",
        values="code",
        ask=("What is the code of my bike lock?",),
        tell=(
            "The code of my bike lock is {value}.",
            "Keep this for me: the code of my bike lock is {value}.",
            "I always forget that the code of my bike lock is {value}.",
        ),
        change=(
            "I had to buy a new lock for the bike, it opens with {value}.",
            "I have changed the lock on the bike, {value} opens it now.",
            "I reset the combination of the lock, now it is {value}.",
        ),
        others=("{name} has the alarm code {value}.", "The locker of {name} opens with {value}."),
    ),
    Topic(
        name="phone extension",
        values="extension",
        ask=("What is my phone extension at work?",),
        tell=(
            "My phone extension at work is {value}.",
            "You can reach me here: my phone extension at work is {value}.",
            "Note that my phone extension at work is {value}.",
        ),
        change=(
            "They gave me a new phone, the extension has changed to {value}.",
            "After the move of desks my extension is now {value}.",
            "IT has swapped the lines, so call me at {value} instead.",
        ),
        others=("{name} can be reached under {value}.",),
    ),
    Topic(
        name="parking spot",
        values="small_number",
        ask=("What is the number of my parking spot?", "Which number is my parking spot?"),
        tell=(
            "The number of my parking spot is {value}.",
            "I have the car at work, the number of my parking spot is {value}.",
            "The number of my parking spot is {value}, right next to the lift.",
        ),
        change=(
            "They reassigned the garage, I park on {value} now.",
            "My spot was given away, so I have {value} instead.",
            "The garage has changed the spots and mine is {value} now.",
        ),
        others=("{name} sits at desk {value}.", "The bus of {name} is line {value}."),
    ),
    Topic(
        name="yoga class",
        values="clock",
        ask=("What time does my yoga class start?", "At what time does my yoga class start?"),
        tell=(
            "My yoga class starts at {value}.",
            "I have to leave early because my yoga class starts at {value}.",
            "Every Wednesday my yoga class starts at {value}.",
        ),
        change=(
            "The studio has shifted yoga, it begins at {value} from now on.",
            "New timetable: yoga is at {value} now.",
            "Yoga has been moved, we begin at {value} instead.",
        ),
        others=("{name} has a meeting at {value}.", "The train of {name} arrives at {value}."),
    ),
    Topic(
        name="colour of the front door",
        values="colour",
        ask=("What colour is my front door?", "What is the colour of my front door?"),
        tell=(
            "The colour of my front door is {value}.",
            "You will find the house, the colour of my front door is {value}.",
            "For the parcel service: the colour of my front door is {value}.",
        ),
        change=(
            "We have repainted the door, it is {value} now.",
            "The painters came, the front of the house has a {value} door now.",
            "The old paint is gone, so the door is {value} instead.",
        ),
        others=("{name} bought a {value} jacket.", "The new car of {name} is {value}."),
    ),
    Topic(
        name="shoe size of {child}",
        values="shoe_size",
        ask=("What is the shoe size of my son {child}?",),
        tell=(
            "The shoe size of my son {child} is {value}.",
            "In case you shop for us, the shoe size of my son {child} is {value}.",
            "The shoe size of my son {child} is {value} at the moment.",
        ),
        change=(
            "The feet of {child} have grown, he takes {value} now.",
            "We measured {child} again: it is {value} now.",
            "The old shoes no longer fit {child}, he has {value} now.",
        ),
        others=("The skis of {name} are size {value}.",),
    ),
    Topic(
        name="wifi password",
        values="word_code",
        ask=("What is the password of my wifi?", "What is my wifi password?"),
        tell=(
            "The password of my wifi is {value}.",
            "For guests: the password of my wifi is {value}.",
            "The password of my wifi is {value}, all in small letters.",
        ),
        change=(
            "We have a new router, so you get in with {value} now.",
            "I reset the router and the password is now {value}.",
            "The wifi got hacked, I switched it to {value} instead.",
        ),
        others=("The cat of {name} is called {value}.",),
    ),
    Topic(
        name="where the choir rehearses",
        values="cafe",
        ask=("Where does my choir rehearse?",),
        tell=(
            "My choir rehearses at the {value}.",
            "I sing in the evening, my choir rehearses at the {value}.",
            "It is a long way, my choir rehearses at the {value}.",
        ),
        change=(
            "The choir has lost its room, we sing at the {value} now.",
            "The hall is being renovated, so the choir is at the {value} instead.",
            "From now on we practise with the choir at the {value}.",
        ),
        others=("{name} works behind the bar of the {value}.",),
    ),
)
"""The topics that a life is drawn from."""

POOLS: dict[str, tuple[str, ...]] = {
    "cafe": ("Blue Door", "Old Mill", "Café Central", "Corner House", "Green Lantern", "Town Library", "Red Barn"),
    "hiding_place": (
        "under the flower pot",
        "in the garden shed",
        "behind the mailbox",
        "in the blue toolbox",
        "under the third step",
        "above the garage door",
    ),
    "city": ("Porto", "Ghent", "Lyon", "Turin", "Bergen", "Graz", "Leeds", "Cork", "Basel", "Utrecht"),
    "person": (
        "Anna Keller",
        "Jonas Brandt",
        "Mira Novak",
        "Tomas Silva",
        "Ingrid Dahl",
        "Omar Haddad",
        "Ruth Ferrari",
        "Pavel Orlov",
    ),
    "sister": ("Clara", "Ida", "Noor", "Paula"),
    "child": ("Emil", "Jakob", "Rafael", "Timo"),
    "code": ("4812", "9037", "2264", "7150", "3389", "6901", "1745", "5528"),
    "extension": ("2417", "3306", "2981", "4450", "3172", "2065"),
    "small_number": ("48", "17", "23", "61", "35", "72", "54", "86"),
    "clock": ("18:30", "19:15", "17:45", "20:00", "18:00", "19:45"),
    "colour": ("green", "red", "yellow", "blue", "orange", "white", "purple"),
    "shoe_size": ("31", "33", "34", "36", "29", "37"),
    "word_code": ("lighthouse", "marzipan", "driftwood", "tangerine", "snowplough", "hummingbird"),
}
"""Values by pool; dates are drawn from the calendar of the life instead."""

USERS = ("Mara", "Tariq", "Ines", "Viktor", "Leila", "Henrik", "Yuki", "Bruno", "Nadia", "Colm")
"""Names of users."""

PEOPLE = ("Ben", "Sofia", "Karim", "Elsa", "Mateo", "Hanna", "Luca", "Priya", "Oskar", "Zoe")
"""Names of other people."""

CORRECTIONS = ("Correction:", "I got that wrong before:", "Update:", "Sorry, I mixed that up:")
"""How a user takes something back in clear words."""

SMALL_TALK = (
    "The weather is awful today.",
    "I slept badly and need a second coffee.",
    "We watched an old film last night.",
    "The soup turned out too salty.",
    "I walked along the river after work.",
    "The neighbours are loud again.",
    "My back hurts from all the sitting.",
    "I finally finished that long novel.",
    "The tomatoes on the balcony are growing.",
    "There was a long queue at the bakery.",
    "I spent the whole morning in meetings.",
    "Somebody left an umbrella in the hall.",
    "The bus was late, as usual.",
    "We had pancakes for breakfast.",
    "I am thinking about a new haircut.",
    "The printer at the office is broken.",
    "It is the first warm evening of the year.",
    "I lost one of my gloves.",
    "The cat next door slept on our roof.",
    "I cooked far too much rice.",
    "There is a street festival this weekend.",
    "I tried to fix the tap and gave up.",
    "The children built a castle of boxes.",
    "I heard a blackbird before sunrise.",
    "The market had wonderful cherries.",
    "I cleaned the windows for the first time in months.",
    "Work was quiet today.",
    "We played cards until midnight.",
    "My phone fell into the sink, but it survived.",
    "I should drink more water.",
)
"""What is said and never asked for."""
