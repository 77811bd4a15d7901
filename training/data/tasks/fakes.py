"""Small invented tools: so that a model learns to read what is offered, and to see that nothing offered fits."""

from __future__ import annotations

from alpha_umi.training.data.tasks.draw import Wording
from alpha_umi.training.data.tasks.fake import Fake
from alpha_umi.training.data.tasks.more_fakes import TRAINING_FAKES

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


def list_asked(*, held_out: bool) -> list[Fake]:
    """Return the tools that a task may be about."""
    return [fake for fake in FAKES if fake.held_out] if held_out else list_offered(held_out=False)


def list_offered(*, held_out: bool) -> list[Fake]:
    """Return the tools that a task may offer."""
    if held_out:
        return list(FAKES)
    return [*(fake for fake in FAKES if not fake.held_out), *TRAINING_FAKES]
