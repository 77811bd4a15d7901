"""Small invented tools: so that a model learns to read what is offered, and to see that nothing offered fits.

Each is a real function; what it returns is made up, but always the same for the same arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_core.tools import BaseTool

from alpha_umi.tools.convert import make_tool
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.training.data.fields import make_schema
from alpha_umi.training.data.split import hash_text
from alpha_umi.training.data.tasks.draw import Draw, Wording
from alpha_umi.training.data.tasks.piece import Piece, fixed

_PEOPLE = ("Anna", "Ben", "Carla", "David", "Emma", "Farid", "Grace", "Hugo", "Ines", "Jonas", "Kofi", "Lena", "Mia")
_CITIES = (
    "Oslo",
    "Porto",
    "Lyon",
    "Graz",
    "Basel",
    "Gdansk",
    "Turin",
    "Cork",
    "Ghent",
    "Malmo",
    "Tartu",
    "Brno",
    "Bari",
)
_FOODS = ("rice", "lentils", "apples", "cheese", "salmon", "oats", "spinach", "yoghurt", "walnuts", "bread", "tofu")
_TOPICS = ("chess", "volcanoes", "jazz", "rowing", "bees", "tides", "opera", "glaciers", "robots", "pottery", "maps")
_NOTES = (
    "buy milk",
    "call the bank",
    "water the plants",
    "pay the rent",
    "book a table",
    "pack the bag",
    "feed the cat",
)
_SONGS = ("Blue Moon", "Yesterday", "Summertime", "Clair de Lune", "Bolero", "Take Five", "Imagine", "Gymnopedie")
_WORDS = ("house", "river", "bread", "window", "friend", "garden", "winter", "mirror", "bridge", "candle", "forest")
_LANGUAGES = ("French", "Spanish", "German", "Italian", "Polish", "Dutch", "Greek", "Swedish", "Turkish", "Finnish")
_COMPANIES = ("Nordwind", "Altapress", "Quintar", "Bluefern", "Solvany", "Tarkis", "Meridia", "Corvalo", "Hexalon")
_ROOMS = ("kitchen", "bedroom", "office", "hall", "bathroom", "garage", "cellar", "balcony", "attic")
_VALUES: Mapping[str, tuple[str, ...]] = {
    "person": _PEOPLE,
    "city": _CITIES,
    "food": _FOODS,
    "topic": _TOPICS,
    "note": _NOTES,
    "song": _SONGS,
    "word": _WORDS,
    "language": _LANGUAGES,
    "company": _COMPANIES,
    "room": _ROOMS,
}
_SKIES = ("sunny", "cloudy", "light rain", "snow", "windy", "foggy")


@dataclass(frozen=True, slots=True)
class Fake:
    """An invented tool and how people ask for what it does.

    Args:
        name: Tool name.
        description: What the model is told.
        arguments: Argument name → (what to draw for it: a key of the word lists or ``number``, description).
        ask: Questions with the argument names as slots.
        reply: What it returns, with the argument names, and `n` and `sky` made up, as slots.
        need: What the user wants from it, to go after "No tool can".
        held_out: Whether the tool never occurs in training.
    """

    name: str
    description: str
    arguments: Mapping[str, tuple[str, str]]
    ask: Wording
    reply: str
    need: str
    held_out: bool = field(default=False)

    def make_tool(self, tool_name: str | None = None, names: Mapping[str, str] | None = None) -> BaseTool:
        """Return the tool.

        Args:
            tool_name: Another name for it.
            names: Other names for its arguments, by their own.
        """
        names = names or {name: name for name in self.arguments}
        originals = {theirs: ours for ours, theirs in names.items()}
        properties = {
            names[name]: {"type": "integer" if kind == "number" else "string", "description": text}
            for name, (kind, text) in self.arguments.items()
        }
        spec = ToolSpec(tool_name or self.name, self.description, make_schema(properties, list(properties)))

        def run(**given: Any) -> str:
            arguments = {originals[name]: value for name, value in given.items()}
            number = hash_text(f"{self.name} {sorted(arguments.items())}", 0)
            return self.reply.format(**arguments, n=2 + number % 97, sky=_SKIES[number // 97 % len(_SKIES)])

        return make_tool(spec, run)

    def make_piece(self, draw: Draw) -> Piece:
        """Return one question for this tool."""
        arguments: dict[str, Any] = {
            name: draw.integer(2, 60) if kind == "number" else draw.name(_VALUES[kind])
            for name, (kind, _) in self.arguments.items()
        }
        return Piece(draw.say(self.ask, **arguments), self.name, fixed(**arguments))


FAKES: tuple[Fake, ...] = (
    Fake(
        "get_weather",
        "Get the current weather in a city.",
        {"city": ("city", "Name of the city.")},
        Wording(
            ("What is the weather in {city}?", "How is the weather in {city} today?", "Is it raining in {city}?"),
            ("Do I need an umbrella in {city}?", "What's the weather like in {city}?"),
        ),
        "{city}: {n} degrees, {sky}",
        "tell the weather",
    ),
    Fake(
        "send_email",
        "Send an email to a person.",
        {"to": ("person", "Who gets it."), "text": ("note", "What it says.")},
        Wording(
            ("Send an email to {to} saying {text}.", "Email {to}: {text}.", "Write {to} an email that says {text}."),
            ("Mail {to} the message {text}.", "Please email {to} the words {text}."),
        ),
        "Email sent to {to}",
        "send an email",
    ),
    Fake(
        "create_reminder",
        "Remind the user of something after some minutes.",
        {"text": ("note", "What to remind of."), "minutes": ("number", "In how many minutes.")},
        Wording(
            ("Remind me to {text} in {minutes} minutes.", "In {minutes} minutes remind me to {text}."),
            ("Set a reminder to {text} for {minutes} minutes from now.",),
        ),
        "Reminder set: {text} in {minutes} minutes",
        "set a reminder",
    ),
    Fake(
        "translate_word",
        "Translate an English word.",
        {"word": ("word", "The English word."), "language": ("language", "The language wanted.")},
        Wording(
            (
                "Translate {word} into {language}.",
                "What is {word} in {language}?",
                "How do I say {word} in {language}?",
            ),
            ("What does {word} mean in {language}?", "Give me the {language} word for {word}."),
        ),
        "{word} in {language} is entry {n} of the dictionary",
        "translate a word",
    ),
    Fake(
        "play_song",
        "Play a song.",
        {"title": ("song", "Title of the song.")},
        Wording(
            ("Play {title}.", "I want to hear {title}.", "Put on the song {title}."), ("Let me listen to {title}.",)
        ),
        "Now playing {title}",
        "play a song",
    ),
    Fake(
        "get_stock_price",
        "Look up the current share price of a company.",
        {"company": ("company", "Name of the company.")},
        Wording(
            ("What is the share price of {company}?", "How are {company} shares doing?", "Stock price of {company}?"),
            ("What do {company} shares cost?", "How much is one share of {company}?"),
        ),
        "{company} is at {n} dollars",
        "look up a share price",
    ),
    Fake(
        "set_light",
        "Set the brightness of the light in a room.",
        {"room": ("room", "The room."), "percent": ("number", "Brightness from 0 to 100.")},
        Wording(
            ("Set the {room} light to {percent} percent.", "Dim the light in the {room} to {percent}%."),
            ("Make the {room} light {percent} percent bright.",),
        ),
        "Light in the {room} is at {percent} percent",
        "control the light",
    ),
    Fake(
        "find_flights",
        "Find flights between two cities.",
        {"origin": ("city", "City of departure."), "destination": ("city", "City of arrival.")},
        Wording(
            ("Find a flight from {origin} to {destination}.", "Are there flights from {origin} to {destination}?"),
            ("I want to fly from {origin} to {destination}. Which flights are there?",),
        ),
        "{n} flights from {origin} to {destination}",
        "find flights",
    ),
    Fake(
        "book_table",
        "Book a table in a restaurant of a city.",
        {"city": ("city", "Where."), "guests": ("number", "How many people.")},
        Wording(
            ("Book a table for {guests} in {city}.", "Reserve a restaurant in {city} for {guests} people."),
            ("We are {guests} and want to eat in {city}. Please book a table.",),
        ),
        "Table for {guests} in {city} is booked as number {n}",
        "book a table",
    ),
    Fake(
        "get_news",
        "Get the number of news stories on a topic today.",
        {"topic": ("topic", "The topic.")},
        Wording(
            ("What is new about {topic}?", "Any news on {topic}?", "Show me news about {topic}."),
            ("Is there anything in the news on {topic}?",),
        ),
        "{n} stories on {topic} today",
        "read the news",
    ),
    Fake(
        "count_calories",
        "Get the calories in an amount of food.",
        {"food": ("food", "The food."), "grams": ("number", "How many grams.")},
        Wording(
            ("How many calories are in {grams} grams of {food}?", "Calories of {grams} g {food}?"),
            ("What are the calories of {grams} grams of {food}?",),
        ),
        "{grams} grams of {food} have {n} calories",
        "count calories",
    ),
    Fake(
        "find_phone_number",
        "Find the phone number of a contact.",
        {"name": ("person", "Name of the contact.")},
        Wording(
            ("What is the phone number of {name}?", "Give me {name}'s number.", "How can I phone {name}?"),
            ("Look up {name}'s phone number.",),
        ),
        "{name} has the number 555-01{n}",
        "look up a phone number",
    ),
    Fake(
        "start_timer",
        "Start a countdown.",
        {"minutes": ("number", "Length in minutes.")},
        Wording(
            ("Start a timer for {minutes} minutes.", "Set a timer of {minutes} minutes.", "Timer: {minutes} minutes."),
            ("I need a countdown of {minutes} minutes.",),
        ),
        "Timer of {minutes} minutes started",
        "start a timer",
    ),
    Fake(
        "add_to_list",
        "Put something on the shopping list.",
        {"item": ("food", "What to buy."), "amount": ("number", "How many.")},
        Wording(
            ("Put {amount} {item} on my shopping list.", "Add {amount} {item} to the shopping list."),
            ("My shopping list needs {amount} {item}.",),
        ),
        "{amount} {item} added, the list has {n} entries",
        "write a shopping list",
    ),
    Fake(
        "recommend_book",
        "Recommend a book on a topic.",
        {"topic": ("topic", "What it should be about.")},
        Wording(
            ("Recommend a book about {topic}.", "Which book on {topic} should I read?"),
            ("I would like to read something about {topic}.",),
        ),
        "Number {n} of the series All About {topic}",
        "recommend a book",
    ),
    Fake(
        "get_distance",
        "Get the driving distance between two cities in km.",
        {"start": ("city", "First city."), "end": ("city", "Second city.")},
        Wording(
            ("How far is it from {start} to {end}?", "What is the distance from {start} to {end}?"),
            ("How many km is the drive from {start} to {end}?",),
        ),
        "{start} to {end}: {n}0 km",
        "look up a distance",
    ),
    Fake(
        "lookup_definition",
        "Look a word up in the dictionary.",
        {"word": ("word", "The word.")},
        Wording(
            ("Define {word}.", "What does the word {word} mean?", "Look up {word} in the dictionary."),
            ("Give me the definition of {word}.",),
        ),
        "{word}: noun, page {n}",
        "look up a word",
    ),
    Fake(
        "get_air_quality",
        "Get the air quality index of a city.",
        {"place": ("city", "The city.")},
        Wording(
            ("How good is the air in {place}?", "What is the air quality in {place}?"),
            ("Is the air clean in {place}?",),
        ),
        "Air quality index of {place} is {n}",
        "measure the air quality",
        held_out=True,
    ),
    Fake(
        "order_taxi",
        "Order a taxi for a person.",
        {"name": ("person", "Who rides."), "city": ("city", "In which city.")},
        Wording(
            ("Order a taxi for {name} in {city}.", "{name} needs a taxi in {city}."),
            ("Call {name} a cab in {city}.",),
        ),
        "Taxi for {name} in {city} comes in {n} minutes",
        "order a taxi",
        held_out=True,
    ),
    Fake(
        "set_temperature",
        "Set the heating of a room.",
        {"room": ("room", "The room."), "degrees": ("number", "Degrees Celsius.")},
        Wording(
            ("Heat the {room} to {degrees} degrees.", "Set the {room} to {degrees} degrees."),
            ("Make it {degrees} degrees in the {room}.",),
        ),
        "Heating in the {room} is set to {degrees} degrees",
        "control the heating",
        held_out=True,
    ),
    Fake(
        "find_recipe",
        "Find recipes with an ingredient.",
        {"ingredient": ("food", "The ingredient.")},
        Wording(
            ("Find me a recipe with {ingredient}.", "What can I cook with {ingredient}?"),
            ("Which recipes use {ingredient}?",),
        ),
        "{n} recipes with {ingredient}",
        "find a recipe",
        held_out=True,
    ),
    Fake(
        "track_parcel",
        "Find out where the parcel of a company is.",
        {"sender": ("company", "Who sent it.")},
        Wording(
            ("Where is my parcel from {sender}?", "Track the parcel from {sender}."),
            ("When does the parcel from {sender} arrive?",),
        ),
        "The parcel from {sender} is at stop {n}",
        "track a parcel",
        held_out=True,
    ),
)

TRAINING_FAKES: tuple[Fake, ...] = (
    Fake(
        "get_traffic",
        "Get how busy the roads of a city are.",
        {"city": ("city", "The city.")},
        Wording(
            (
                "How is the traffic in {city}?",
                "Are the roads in {city} busy?",
                "Is there a jam in {city}?",
                "Tell me about the traffic in {city}.",
            ),
            (),
        ),
        "{city} has {n} km of queues",
        "check the traffic",
    ),
    Fake(
        "lock_door",
        "Lock the door of a room.",
        {"room": ("room", "Which room.")},
        Wording(
            (
                "Lock the {room}.",
                "Please lock the door of the {room}.",
                "Is the {room} locked? If not, lock it.",
                "Close and lock the {room}.",
            ),
            (),
        ),
        "Door of the {room} is locked",
        "lock a door",
    ),
    Fake(
        "water_garden",
        "Water the plants for some minutes.",
        {"minutes": ("number", "How long.")},
        Wording(
            (
                "Water the garden for {minutes} minutes.",
                "Run the sprinkler for {minutes} minutes.",
                "Give the plants {minutes} minutes of water.",
            ),
            (),
        ),
        "Watering for {minutes} minutes",
        "water the garden",
    ),
    Fake(
        "add_event",
        "Put an event into the diary of a person.",
        {"title": ("note", "What it is."), "person": ("person", "Whose diary.")},
        Wording(
            (
                "Put '{title}' into the diary of {person}.",
                "Add the event {title} for {person}.",
                "Note for {person}: {title}.",
            ),
            (),
        ),
        "Event {n} added for {person}: {title}",
        "write into a diary",
    ),
    Fake(
        "get_exchange_office",
        "Find the exchange offices of a city.",
        {"city": ("city", "Where.")},
        Wording(
            (
                "Where can I change money in {city}?",
                "Find an exchange office in {city}.",
                "Are there exchange offices in {city}?",
            ),
            (),
        ),
        "{n} exchange offices in {city}",
        "find an exchange office",
    ),
    Fake(
        "book_hotel",
        "Book hotel nights in a city.",
        {"city": ("city", "Where."), "nights": ("number", "How many nights.")},
        Wording(
            (
                "Book {nights} nights in {city}.",
                "I need a hotel in {city} for {nights} nights.",
                "Get me a room in {city}, {nights} nights.",
            ),
            (),
        ),
        "{nights} nights in {city} booked as number {n}",
        "book a hotel",
    ),
    Fake(
        "get_train_times",
        "Look up trains between two cities.",
        {"origin": ("city", "From where."), "destination": ("city", "To where.")},
        Wording(
            (
                "When does a train go from {origin} to {destination}?",
                "Which trains run from {origin} to {destination}?",
                "I want to take the train from {origin} to {destination}.",
            ),
            (),
        ),
        "{n} trains from {origin} to {destination}",
        "look up trains",
    ),
    Fake(
        "call_contact",
        "Phone a contact.",
        {"name": ("person", "Who to phone.")},
        Wording(
            (
                "Call {name}.",
                "Phone {name} for me.",
                "Ring {name}, please.",
                "I want to talk to {name} on the phone.",
            ),
            (),
        ),
        "Calling {name}",
        "make a phone call",
    ),
    Fake(
        "send_message",
        "Send a chat message to a contact.",
        {"name": ("person", "Who gets it."), "text": ("note", "The message.")},
        Wording(
            (
                "Text {name}: {text}.",
                "Send {name} the message {text}.",
                "Tell {name} to {text}.",
                "Message {name} that she should {text}.",
            ),
            (),
        ),
        "Message {n} sent to {name}",
        "send a message",
    ),
    Fake(
        "take_note",
        "Write a note into the notebook.",
        {"text": ("note", "The note.")},
        Wording(
            (
                "Write down: {text}.",
                "Take a note to {text}.",
                "Note that I have to {text}.",
                "Jot down {text}.",
            ),
            (),
        ),
        "Note {n} saved: {text}",
        "take a note",
    ),
    Fake(
        "set_volume",
        "Set the volume of the loudspeaker in a room.",
        {"room": ("room", "Where."), "level": ("number", "From 0 to 100.")},
        Wording(
            (
                "Set the volume in the {room} to {level}.",
                "Turn the loudspeaker in the {room} to {level}.",
                "Make the music in the {room} {level} loud.",
            ),
            (),
        ),
        "Volume in the {room} is {level}",
        "change the volume",
    ),
    Fake(
        "open_blinds",
        "Open the blinds of a room by some percent.",
        {"room": ("room", "Which room."), "percent": ("number", "How far.")},
        Wording(
            (
                "Open the blinds in the {room} by {percent} percent.",
                "Raise the {room} blinds to {percent}%.",
                "Blinds in the {room}: {percent} percent open.",
            ),
            (),
        ),
        "Blinds in the {room} are {percent} percent open",
        "move the blinds",
    ),
    Fake(
        "find_synonym",
        "Find words that mean the same.",
        {"word": ("word", "The word.")},
        Wording(
            (
                "What is another word for {word}?",
                "Give me a synonym of {word}.",
                "Find a synonym for {word}.",
            ),
            (),
        ),
        "{word} has {n} synonyms",
        "find a synonym",
    ),
    Fake(
        "spell_word",
        "Spell a word letter by letter in a language.",
        {"word": ("word", "The word."), "language": ("language", "The language.")},
        Wording(
            (
                "Spell {word} in {language}.",
                "How is {word} spelt in {language}?",
                "How do I write {word} in {language}?",
            ),
            (),
        ),
        "{word} in {language}: {n} letters",
        "spell a word",
    ),
    Fake(
        "find_course",
        "Find courses on a topic in a city.",
        {"topic": ("topic", "What to learn."), "city": ("city", "Where.")},
        Wording(
            (
                "Where can I learn about {topic} in {city}?",
                "Find a course on {topic} in {city}.",
                "Are there lessons on {topic} in {city}?",
            ),
            (),
        ),
        "{n} courses on {topic} in {city}",
        "find a course",
    ),
    Fake(
        "get_lyrics",
        "Get the lyrics of a song.",
        {"title": ("song", "Title of the song.")},
        Wording(
            (
                "Show me the lyrics of {title}.",
                "What are the words of {title}?",
                "How does the text of {title} go?",
            ),
            (),
        ),
        "{title} has {n} lines",
        "find lyrics",
    ),
    Fake(
        "buy_ticket",
        "Buy tickets for a concert of a song's band.",
        {"title": ("song", "The song."), "amount": ("number", "How many tickets.")},
        Wording(
            (
                "Buy {amount} tickets for {title}.",
                "I want {amount} tickets for the {title} concert.",
                "Get {amount} seats for {title}.",
            ),
            (),
        ),
        "{amount} tickets for {title}, order {n}",
        "buy tickets",
    ),
    Fake(
        "get_company_address",
        "Look up the address of a company.",
        {"company": ("company", "Name of the company.")},
        Wording(
            (
                "What is the address of {company}?",
                "Where does {company} have its office?",
                "Find the address of {company}.",
            ),
            (),
        ),
        "{company}, Main Street {n}",
        "look up an address",
    ),
    Fake(
        "pay_invoice",
        "Pay an invoice of a company.",
        {"company": ("company", "Who gets the money."), "amount": ("number", "How many euros.")},
        Wording(
            (
                "Pay {amount} euros to {company}.",
                "Transfer {amount} euros to {company}.",
                "Settle the invoice of {company} over {amount} euros.",
            ),
            (),
        ),
        "{amount} euros paid to {company}",
        "pay an invoice",
    ),
    Fake(
        "check_stock",
        "Look up how much of a food the shop has.",
        {"food": ("food", "The food.")},
        Wording(
            (
                "Is {food} available in the shop?",
                "Does the shop have {food}?",
                "How much {food} does the shop have left?",
            ),
            (),
        ),
        "{n} packs of {food} left",
        "ask the shop",
    ),
    Fake(
        "track_run",
        "Save a run of some minutes.",
        {"minutes": ("number", "How long it was.")},
        Wording(
            (
                "I ran for {minutes} minutes. Save it.",
                "Log a run of {minutes} minutes.",
                "Add a {minutes} minute run to my training.",
            ),
            (),
        ),
        "Run {n} saved: {minutes} minutes",
        "log a run",
    ),
    Fake(
        "find_doctor",
        "Find a doctor in a city.",
        {"city": ("city", "Where.")},
        Wording(
            (
                "Find a doctor in {city}.",
                "I am ill in {city}. Who can help?",
                "Which doctors are there in {city}?",
            ),
            (),
        ),
        "{n} doctors in {city}",
        "find a doctor",
    ),
    Fake(
        "post_photo",
        "Post a photo of a topic.",
        {"topic": ("topic", "What it shows.")},
        Wording(
            (
                "Post a photo of {topic}.",
                "Share my picture of {topic}.",
                "Upload the photo about {topic}.",
            ),
            (),
        ),
        "Photo {n} of {topic} posted",
        "post a photo",
    ),
    Fake(
        "rent_bike",
        "Rent bikes in a city.",
        {"city": ("city", "Where."), "amount": ("number", "How many bikes.")},
        Wording(
            (
                "Rent {amount} bikes in {city}.",
                "We need {amount} bicycles in {city}.",
                "Get us {amount} bikes in {city}.",
            ),
            (),
        ),
        "{amount} bikes in {city} reserved",
        "rent bikes",
    ),
)
"""More of them, in training alone: that of held-out tasks stays what it was, and figures can be compared."""


def list_asked(*, held_out: bool) -> list[Fake]:
    """Return the tools that a task may be about."""
    return [fake for fake in FAKES if fake.held_out] if held_out else list_offered(held_out=False)


def list_offered(*, held_out: bool) -> list[Fake]:
    """Return the tools that a task may offer."""
    if held_out:
        return list(FAKES)
    return [*(fake for fake in FAKES if not fake.held_out), *TRAINING_FAKES]
