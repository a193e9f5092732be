"""The built-in data set ``synthetic``: requests to smart glasses, written for this project."""

from __future__ import annotations

import itertools

PLACES = ("station", "library", "museum", "harbour", "market", "school", "bakery", "park", "clinic", "hotel")
TIMES = ("seven", "noon", "half past two", "a quarter to five", "six in the evening", "nine tonight")
MINUTES = ("two", "five", "ten", "twelve", "fifteen", "twenty", "thirty", "forty-five")
THINGS = ("keys", "umbrella", "passport", "charger", "notebook", "ticket", "gloves", "water bottle")
PEOPLE = ("Anna", "Bo", "Carla", "Dev", "Emil", "Farah", "Goro", "Hanna")
DIRECTIONS = ("left", "right", "straight ahead", "behind you")

_TEMPLATES: tuple[tuple[str, str, tuple[tuple[str, ...], ...]], ...] = (
    ("Set a timer for {0} minutes.", "Timer set: {0} minutes from now.", (MINUTES,)),
    ("Remind me to take my {0} at {1}.", "I will remind you at {1} to take your {0}.", (THINGS, TIMES)),
    ("Where is the {0}?", "The {0} is {1}.", (PLACES, DIRECTIONS)),
    ("How far is the {0}?", "The {0} is {1} minutes away on foot.", (PLACES, MINUTES)),
    ("Call {0} at {1}.", "I will call {0} at {1}.", (PEOPLE, TIMES)),
    ("Tell {0} that I am {1} minutes late.", "Message to {0}: {1} minutes late.", (PEOPLE, MINUTES)),
    ("Who is coming to the {1}?", "{0} is coming to the {1}.", (PEOPLE, PLACES)),
    ("When does the {0} close?", "The {0} closes at {1}.", (PLACES, TIMES)),
    ("Did I forget my {0}?", "Your {0} is still at the {1}.", (THINGS, PLACES)),
    ("Take me to the {0}.", "Turn {1} and walk to the {0}.", (PLACES, DIRECTIONS[:3])),
)


def synthetic_records() -> list[tuple[str, str]]:
    """Every filling of the templates, as (prompt, response), in a fixed order."""
    records = []
    for prompt, response, lists in _TEMPLATES:
        for words in itertools.product(*lists):
            records.append((prompt.format(*words), response.format(*words)))
    return records
