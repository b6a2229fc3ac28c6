"""The sentences of `benchmarks.long_requests`: what is remembered, who asks for it, and what else they say."""

CHOSEN = (
    (
        "Wifi password: tulip99",
        "Somebody will ask me for the wifi password, so tell me what it is.",
        "it stands on the back of the router in the hall and was changed after the break-in",
    ),
    (
        "Ann is allergic to nuts",
        "Is there anything I must not cook because Ann is allergic to it?",
        "she carries a pen with her and had to be driven to hospital once",
    ),
    (
        "The spare key is under the blue pot",
        "Where did we leave the spare key?",
        "the neighbours know about it and the postman does not",
    ),
    (
        "My blood type is 0 negative",
        "The form wants my blood type, which I never remember.",
        "that is what the donor card from Leipzig says",
    ),
    (
        "Car insurance ends in March",
        "When does the car insurance end?",
        "the agent will call beforehand and the premium goes up by a tenth",
    ),
    (
        "Bob's birthday is 4 May",
        "I also have to know when Bob's birthday is.",
        "he would rather have books than wine and hates surprises",
    ),
    (
        "Dentist: Dr. Okafor",
        "Which dentist do we go to?",
        "the practice is above the pharmacy and closes at noon on Fridays",
    ),
    (
        "Shoe size of Lena: 31",
        "What is the shoe size of Lena at the moment?",
        "measured in the shop by the station with socks on",
    ),
    (
        "Gate code 4471",
        "The driver needs the gate code too.",
        "the old one stopped working when they painted the fence",
    ),
    (
        "The boiler needs 1.5 bar",
        "How many bar does the boiler need?",
        "the valve to top it up is behind the washing machine",
    ),
    (
        "We parked on level 3",
        "On which level have we parked?",
        "next to the lift with the green arrow, ticket in the glove box",
    ),
    (
        "Grandma takes aspirin daily",
        "Does Grandma take aspirin or was it something else?",
        "the doctor halved the dose in autumn and wants to see her again",
    ),
    (
        "The cat is called Minsk",
        "What is the cat called again?",
        "the vet in the old brewery has her card and her chip number",
    ),
    (
        "Printer ink: type 302",
        "Which type of ink does the printer take?",
        "the shop by the bridge has it, the supermarket does not",
    ),
    (
        "Flight to Oslo leaves at 6:40",
        "When does the flight to Oslo leave?",
        "from terminal two, with one suitcase each and no meal on board",
    ),
    (
        "Tom owes me 80 euros",
        "How much does Tom owe me?",
        "for the concert in June, and he promised it back by Christmas",
    ),
    (
        "The ladder is at Miriam's",
        "Who has the ladder now?",
        "she borrowed it for the cherries and has no car to bring it back",
    ),
    ("Bin day is Thursday", "Which day is bin day?", "the paper goes out every second week only, the brown one always"),
    ("Pia is vegan", "Is Pia vegetarian or vegan?", "since the trip to Wales, and she does not mind cooking herself"),
    (
        "The hotel is called Seerose",
        "What was the hotel called where we stayed?",
        "the owner speaks Dutch and keeps two donkeys by the lake",
    ),
    (
        "Library card number 20881",
        "I need my library card number for the renewal.",
        "it expires in two years and the fee is paid by the town",
    ),
    (
        "Piano tuner: Herr Vogt",
        "Who is the piano tuner?",
        "he comes from two villages away and needs an hour of silence",
    ),
    ("Passport is in the safe", "Where is my passport?", "together with the deeds and the ring of my aunt"),
    (
        "Alarm is off on Sundays",
        "Is the alarm off on Sundays?",
        "because of the cleaners, who come at seven and leave by ten",
    ),
    (
        "Nina teaches at Elm School",
        "At which school does Nina teach?",
        "chemistry and sports, and she cycles there in all weathers",
    ),
    (
        "Paint in the hall: Alabaster 12",
        "What paint did we use in the hall?",
        "two coats of it, and half a tin is left in the shed",
    ),
    (
        "Mower runs on diesel",
        "Does the mower run on petrol or diesel?",
        "the can for it is the red one and must never be mixed up",
    ),
    ("Rent is due on the 3rd", "On what day is the rent due?", "by bank order to the owner in Kiel, heating included"),
    ("Jonas fears dogs", "Was it Jonas who fears dogs?", "because one bit him on the beach when he was five"),
    (
        "Guest bed is 190 cm long",
        "How long is the guest bed?",
        "with the board at the end, so that tall people lie across",
    ),
)
"""A record, the sentence that asks for it, and what makes the record longer: the rule was chosen with these."""

HELD_OUT = (
    (
        "Landlord's email: kwest@inbox.example",
        "What was the email of the landlord?",
        "he answers within a day unless it is about money",
    ),
    (
        "Sofa colour: moss green",
        "Which colour does the sofa have exactly?",
        "the fabric came from a mill in Portugal and stains easily",
    ),
    (
        "Marta plays the cello",
        "Does Marta play the cello or the violin?",
        "since she was six, and she practises when nobody is at home",
    ),
    (
        "Sourdough is fed on Mondays",
        "When is the sourdough fed?",
        "with rye and lukewarm water, then back to the cool shelf",
    ),
    ("The tent leaks at the zip", "Did the tent leak somewhere?", "we noticed in Norway and sealed it badly with tape"),
    (
        "Dave is afraid of flying",
        "It was Dave who is afraid of flying, was it not?",
        "he takes the ferry wherever he can and reads on deck",
    ),
    ("Locker 52 at the pool", "Which locker do we have at the pool?", "the coin stays inside and the hinge is bent"),
    (
        "Vitamin D: 1000 units",
        "How many units of vitamin D do I take?",
        "every morning with something fat, not in summer",
    ),
    ("Our notary is Frau Simmel", "Who is our notary?", "her office moved to the old customs house last year"),
    (
        "Bike tyres want 4 bar",
        "How many bar do the bike tyres want?",
        "a little less on gravel, and check them every month",
    ),
    ("Server room key: Yusuf", "Who has the key to the server room?", "he sits on the second floor beside the copier"),
    (
        "Olga moved to Tartu",
        "To which town has Olga moved?",
        "she works for the university there and learns the language",
    ),
    (
        "Heating oil: 1800 litres",
        "How many litres of heating oil did we order?",
        "delivered in two loads because the lorry was too long",
    ),
    (
        "The goldfish eats at noon",
        "At what time does the goldfish eat?",
        "two pinches and no more, whatever it pretends",
    ),
    ("Choir meets in room B7", "In which room does the choir meet?", "after the holidays perhaps in the chapel again"),
    (
        "Sanders repairs accordions",
        "Who was it that repairs accordions?",
        "a small man with a workshop full of reeds and leather",
    ),
    (
        "Fuse 9 is the dishwasher",
        "Which fuse is the one of the dishwasher?",
        "the labels in the box were mixed up by the electrician",
    ),
    ("Aunt Vera hates lilies", "Which flowers does aunt Vera hate?", "they remind her of a funeral in her youth"),
    ("Spanish class ends at eight", "When does the Spanish class end?", "but the teacher is always a little late"),
    ("Max weighs 41 kilos", "How many kilos does Max weigh now?", "weighed at the check-up, in his clothes"),
)
"""Written when the rule stood."""

TALK = """
Mum is coming over on Saturday and wants to stay until the middle of the week.
I spent most of the morning on the phone with the bank and got nowhere.
The weather is supposed to turn, so we might move everything indoors.
Work has been mad since the new manager started and nobody knows who decides what.
I would like to get the shopping done before the crowds arrive.
The children have a concert at six and have to be there early for the rehearsal.
On the way back I could pick up the parcels from the post office.
We still have not agreed on what to do with the old sofa in the basement.
My sister wrote that her train is late again and that she is furious.
Please keep in mind that we are trying to spend less this month.
There was a leak under the sink, but the plumber fixed it within an hour.
I read a long article about sleep and decided to go to bed earlier.
The garden looks terrible after the storm and half of the tomatoes are gone.
Yesterday we watched a film about whales that was far too long.
Someone left the light on in the cellar the whole night.
The new neighbours seem friendly and have invited everyone for a drink.
I have started to run again, slowly, and my knee does not complain yet.
The meeting was moved to Tuesday, which suits me better anyway.
If there is time I want to sort the photographs from last summer.
We ran out of coffee, bread and washing powder at the same time.
The traffic on the ring road was unbelievable, so everybody came late.
Dad keeps asking whether we have thought about the holidays.
My computer makes a strange noise whenever I open a big file.
The bakery on the corner has closed, which is a pity for the whole street.
I promised to write the minutes and have not even found my notes.
There will be eight of us at the table, perhaps nine if Karl brings his friend.
The school sent another letter about the timetable, and it contradicts the first one.
I think I left my umbrella in the restaurant.
The roof will be repaired in spring, weather permitting.
Our old teacher is retiring and we are collecting money for a present.
The museum was crowded, but the exhibition about maps was wonderful.
I need a quiet evening, a bath and a book.
Everybody at the office has a cold, and I fear that I am next.
The recipe says two hours in the oven, which I do not believe.
We talked about politics for far too long and nobody changed their mind.
The bus drivers are on strike, so I shall have to walk.
I found a ten year old ticket in the pocket of my winter coat.
My colleague is moving to Canada and sells nearly all her furniture.
The battery of my phone lasts for half a day at best.
It would be nice to have some music, but nothing too loud.
The window in the kitchen does not close properly any more.
The speech has to be ready by Friday and must not be longer than five minutes.
Our football team lost again, and the mood was accordingly.
I am a bit overwhelmed by all the little things that come together this week.
The market had wonderful peaches and I bought far too many.
The tax office wants a form that nobody has ever heard of.
They are tearing up the road in front of the house from Monday.
My cousin got engaged and the whole family talks of nothing else.
I have to return the books, the drill and the big pot that we borrowed.
The baby next door cried all night, poor thing.
""".strip().splitlines()
"""What else a request says."""

TAILS = """
We settled that in spring and nobody has asked since.
The note hangs on the fridge under the magnet from Rome.
Two of us know it by heart, the rest look it up each time.
It was different when we lived in the flat above the baker.
Ask the elder of the two brothers if in doubt.
A copy lies with the lawyer, sealed and dated.
""".strip().splitlines()
"""What else a long record says."""

PEOPLE = """
Ann | Bob | Cleo | Dirk | Edda | Tom | Lena | Nina | Jonas | Pia | Miriam | Karl | Grandma | Dad | Mum | Otto
| Ruth | Ivo | Hanna | Luis
"""
"""Of whom the other records tell, parted by bars; so are the lists below."""

DID = """
talked about | complained about | laughed at | forgot | photographed | asked me about | dreamt of | bought |
sold | repaired | painted | looked for
"""
"""What they did."""

THINGS = """
the weather | a train ticket | some paint | the election | a dog | two tickets | the old bridge | the garden |
a recipe | the school letter | the office party | a book about maps | the kitchen window | the roof | a winter
coat | the concert | the new manager | peaches from the market | the football team | an umbrella | a phone |
the bakery | the holidays | a piano | the car | the boiler | the hotel by the lake | a printer | a key | the
gate | the insurance letter | her shoes | the passport office | the cat next door | a parking ticket | the
library
"""
"""To what."""

WHENS = """
again | this morning | for an hour | on the phone | over lunch | without a reason | as usual | on Sunday | in
March | at school | at work | in the hall | before the flight | after dinner | last Thursday | by the bridge
"""
"""And when."""

MATTERS = """
favourite colour | phone number | street | desk | bike | password for the old laptop | locker code | seat |
room | doctor | hobby | team | size of gloves | favourite tea | train line | birthday cake
"""
"""What of theirs is something."""

VALUES = """
green | blue | 4402 | 12 | Rowan | Elm | Nimbus | Tango | chess | rowing | mint | amber | 17 B | north wing |
Dr. Lang | violet | tulips | cedar
"""
"""What it is."""
