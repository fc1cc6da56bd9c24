"""The words of the topics: what titles, categories and descriptions are made of.

Topics share no adjective, noun or form, so that text tells topics apart as it does in real
catalogs; the linking words of the sentences are common to all.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Topic:
    """The vocabulary of one topic.

    Attributes:
        category: Name of the category.
        adjectives: Twelve first words of a title.
        nouns: Twelve second words of a title.
        forms: Four last words of a title.
        themes: Twelve things a description may be about.
    """

    category: str
    adjectives: tuple[str, ...]
    nouns: tuple[str, ...]
    forms: tuple[str, ...]
    themes: tuple[str, ...]


def _topic(category: str, adjectives: str, nouns: str, forms: str, themes: str) -> Topic:
    return Topic(
        category,
        tuple(adjectives.split()),
        tuple(nouns.split()),
        tuple(forms.split()),
        tuple(themes.split(", ")),
    )


TOPICS = (
    _topic(
        "Mystery",
        "Quiet Foggy Locked Silent Crooked Midnight Vanished Missing Secret Shuttered Pale Hollow",
        "Harbour Manor Alibi Lantern Witness Corridor Inspector Letter Archive Cellar Key Clue",
        "Mysteries Cases Inquests Riddles",
        "a murder, an old inspector, a false alibi, a locked room, a missing heir, a stolen will, "
        "a village with secrets, a poisoned cup, a cold case, an anonymous note, a patient "
        "detective, an unlikely suspect",
    ),
    _topic(
        "Space",
        "Orbital Stellar Lunar Distant Frozen Infinite Drifting Interstellar Dark Solar Rogue Lost",
        "Station Nebula Comet Colony Beacon Horizon Engine Signal Asteroid Voyager Moon Galaxy",
        "Odyssey Frontier Chronicles Missions",
        "a starship crew, a dying sun, first contact, a rebel colony, a jump drive, an alien "
        "signal, zero gravity, a robot pilot, a terraformed planet, a wormhole, a lost probe, "
        "the edge of the galaxy",
    ),
    _topic(
        "Cooking",
        "Rustic Spicy Golden Simple Smoky Roasted Homemade Seasonal Savoury Buttery Zesty Slow",
        "Kitchen Oven Market Skillet Bakery Harvest Spoon Pantry Table Noodle Bread Spice",
        "Recipes Suppers Feasts Dishes",
        "fresh herbs, sourdough, a family recipe, knife skills, street food, one pot, roasted "
        "vegetables, handmade pasta, a tasting menu, fermented chilli, weeknight dinners, "
        "olive oil",
    ),
    _topic(
        "Sport",
        "Fearless Rising Undefeated Relentless Fast Golden-Boot Final Injured Veteran Junior Home "
        "Underdog",
        "Striker Stadium Sprint League Goalkeeper Coach Marathon Trophy Rivalry Penalty Relay "
        "Champion",
        "Season Matches Playoffs Derby",
        "a title race, a young captain, a broken record, training camp, extra time, a transfer "
        "window, the last lap, a loyal crowd, a tough referee, a comeback, a world cup, "
        "a small club",
    ),
    _topic(
        "Romance",
        "Tender Summer Second Forbidden Charming Blushing Sweet Stolen Hopeful Parisian Starlit "
        "Unsent",
        "Wedding Kiss Bouquet Promise Cottage Waltz Heart Valentine Proposal Orchard Ring Duchess",
        "Affair Romances Sonata Hearts",
        "two rivals in love, a marriage of convenience, a childhood sweetheart, a letter never "
        "sent, a wedding planner, a second chance, a shy bookseller, a summer by the lake, "
        "a fake engagement, an honest confession, a long farewell, a chance meeting",
    ),
    _topic(
        "History",
        "Ancient Imperial Forgotten Medieval Royal Buried Colonial Sacred Bronze Besieged Old "
        "Exiled",
        "Empire Legion Dynasty Fortress Pharaoh Treaty Crusade Viking Senate Monastery Parchment "
        "Throne",
        "Annals Histories Wars Kings",
        "the fall of an empire, a silk road caravan, a peasant revolt, court intrigue, an "
        "archaeological dig, a naval blockade, a forgotten queen, the plague years, a roman road, "
        "the first printers, an unfinished cathedral, a peace treaty",
    ),
    _topic(
        "Nature",
        "Wild Misty Mossy Arctic Green Untamed Coral Migrating Sunlit Rare Remote Tidal",
        "Forest Glacier Otter Reef Meadow Canyon Falcon River Savannah Wolf Rainforest Whale",
        "Wildlife Safari Habitats Seasons",
        "a wolf pack, coral gardens, the spring migration, a mangrove nursery, endangered birds, "
        "a beaver dam, desert flowers, the deep ocean, polar nights, pollinators, a mother bear, "
        "an ancient oak",
    ),
    _topic(
        "Music",
        "Electric Acoustic Velvet Loud Soulful Syncopated Unplugged Blue Analog Melodic Brass "
        "Broken-String",
        "Guitar Rhythm Encore Chorus Piano Vinyl Drummer Ballad Saxophone Studio Festival Bassline",
        "Sessions Concerts Albums Tours",
        "a garage band, a lost recording, jazz improvisation, a world tour, songwriting, a string "
        "quartet, a vintage synthesizer, the last encore, choir practice, a street musician, "
        "a number one hit, a mixing desk",
    ),
    _topic(
        "Horror",
        "Haunted Cursed Bleeding Whispering Grim Rotten Possessed Nameless Screaming Unholy "
        "Skeletal Moonless",
        "Asylum Crypt Doll Graveyard Mirror Ghoul Attic Scarecrow Coven Swamp Coffin Shadow",
        "Nightmares Terrors Hauntings Rituals",
        "a family curse, a ghost child, something in the walls, an abandoned asylum, a masked "
        "stalker, a blood moon, an exorcism, a cannibal clan, sleep paralysis, a witch trial, "
        "a buried coffin, the undead",
    ),
    _topic(
        "Technology",
        "Digital Quantum Open Encrypted Wireless Autonomous Parallel Neural Viral Modular Virtual "
        "Hacked",
        "Circuit Server Startup Algorithm Keyboard Network Robot Compiler Cloud Sensor Browser "
        "Chip",
        "Systems Lectures Prototypes Code",
        "machine learning, a data breach, open source, a garage startup, self driving cars, "
        "computer vision, functional programming, a chip shortage, home automation, "
        "post quantum cryptography, a hackathon, legacy software",
    ),
    _topic(
        "Travel",
        "Wandering Scenic Coastal Overland Nomadic Sleepless Tropical Alpine Unmapped Slow-Train "
        "Budget Sunny",
        "Passport Railway Island Backpack Hostel Bazaar Ferry Pilgrim Volcano Caravan Lagoon "
        "Compass",
        "Journeys Itineraries Postcards Routes",
        "a night train, island hopping, a mountain pass, a floating market, hitchhiking, border "
        "crossings, a pilgrim trail, a desert camp, hidden beaches, a city on foot, a guesthouse, "
        "a world map",
    ),
    _topic(
        "Comedy",
        "Awkward Clumsy Hilarious Grumpy Accidental Sarcastic Ridiculous Cheeky Overdue Nosy Tipsy "
        "Absurd",
        "Roommate Neighbour Landlord Pigeon Office Barber Goldfish Reunion Wig Babysitter Karaoke "
        "Mailman",
        "Sketches Jokes Capers Sitcom",
        "a terrible roommate, a mistaken identity, a disastrous dinner party, an office prank, "
        "a mother in law, stage fright, a bank robbery gone silly, a talking parrot, "
        "a school reunion, a bad haircut, an improv troupe, a pyramid scheme",
    ),
)
