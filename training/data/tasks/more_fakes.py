"""More invented tools, in training alone: those of held-out tasks stay what they were, and figures comparable."""

from __future__ import annotations

from alpha_umi.training.data.tasks.draw import Wording
from alpha_umi.training.data.tasks.fake import Fake

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
                "New event in {person}'s diary: {title}.",
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
                "Send a chat message to {name}: {text}.",
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
                "New entry in my notebook: {text}.",
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
                "Which letters does {word} have in {language}?",
                "Letter by letter, please: {word} in {language}.",
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
