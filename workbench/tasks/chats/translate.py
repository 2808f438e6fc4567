"""translate: a short sentence into French, German or Spanish, mirroring OPUS-Books.

User: ``Translate into French: "The book is on the table."``
Good: ``Le livre est sur la table.``
"""

from __future__ import annotations

from collections.abc import Sequence

from workbench.tasks.chats.measures import Item, Rubric, ngrams, ramp, words

LANGUAGES = ("French", "German", "Spanish")
SENTENCES: dict[str, tuple[str, str, str]] = {
    "The book is on the table.": ("Le livre est sur la table.", "Das Buch liegt auf dem Tisch.", "El libro está sobre la mesa."),
    "I am very tired today.": ("Je suis très fatigué aujourd'hui.", "Ich bin heute sehr müde.", "Hoy estoy muy cansado."),
    "Where is the train station?": ("Où est la gare ?", "Wo ist der Bahnhof?", "¿Dónde está la estación de tren?"),
    "We eat bread and cheese.": ("Nous mangeons du pain et du fromage.", "Wir essen Brot und Käse.", "Comemos pan y queso."),
    "The children play in the garden.": ("Les enfants jouent dans le jardin.", "Die Kinder spielen im Garten.", "Los niños juegan en el jardín."),
    "She drinks a glass of water.": ("Elle boit un verre d'eau.", "Sie trinkt ein Glas Wasser.", "Ella bebe un vaso de agua."),
    "My brother works in a hospital.": ("Mon frère travaille dans un hôpital.", "Mein Bruder arbeitet in einem Krankenhaus.", "Mi hermano trabaja en un hospital."),
    "It is raining and the street is wet.": ("Il pleut et la rue est mouillée.", "Es regnet und die Straße ist nass.", "Está lloviendo y la calle está mojada."),
    "Do you speak English?": ("Parlez-vous anglais ?", "Sprechen Sie Englisch?", "¿Habla usted inglés?"),
    "The house has a red door.": ("La maison a une porte rouge.", "Das Haus hat eine rote Tür.", "La casa tiene una puerta roja."),
    "Tomorrow I will visit my grandmother.": ("Demain, je rendrai visite à ma grand-mère.", "Morgen besuche ich meine Großmutter.", "Mañana visitaré a mi abuela."),
    "He has lost his keys.": ("Il a perdu ses clés.", "Er hat seine Schlüssel verloren.", "Ha perdido sus llaves."),
    "The coffee is too hot.": ("Le café est trop chaud.", "Der Kaffee ist zu heiß.", "El café está demasiado caliente."),
    "The window is open.": ("La fenêtre est ouverte.", "Das Fenster ist offen.", "La ventana está abierta."),
    "I like to read in the evening.": ("J'aime lire le soir.", "Ich lese gern am Abend.", "Me gusta leer por la noche."),
    "The cat sleeps under the chair.": ("Le chat dort sous la chaise.", "Die Katze schläft unter dem Stuhl.", "El gato duerme debajo de la silla."),
    "How much does this cost?": ("Combien cela coûte-t-il ?", "Wie viel kostet das?", "¿Cuánto cuesta esto?"),
    "We live in a small town.": ("Nous vivons dans une petite ville.", "Wir wohnen in einer kleinen Stadt.", "Vivimos en una ciudad pequeña."),
    "Please close the door.": ("Fermez la porte, s'il vous plaît.", "Bitte schließen Sie die Tür.", "Por favor, cierre la puerta."),
    "The dog is older than the cat.": ("Le chien est plus vieux que le chat.", "Der Hund ist älter als die Katze.", "El perro es mayor que el gato."),
    "My friend is learning to swim.": ("Mon amie apprend à nager.", "Mein Freund lernt schwimmen.", "Mi amigo está aprendiendo a nadar."),
    "There are three apples in the bowl.": ("Il y a trois pommes dans le bol.", "In der Schüssel sind drei Äpfel.", "Hay tres manzanas en el tazón."),
}  # fmt: skip


def items() -> list[Item]:
    """Every sentence in every language."""
    return [
        Item(
            prompt=f'Translate into {language}: "{english}" Write the translation and nothing else.',
            reference=translations[place],
            format="sentence",
            rubric={"reference": translations[place], "source": english},
        )
        for english, translations in SENTENCES.items()
        for place, language in enumerate(LANGUAGES)
    ]


def chrf(text: str, reference: str, orders: Sequence[int] = (1, 2, 3, 4, 5, 6)) -> float:
    """Character F-score of order 2 in [0, 1] (chrF2: Popović 2015), spaces left out, cases folded."""
    said = list("".join(text.lower().split()))
    wanted = list("".join(reference.lower().split()))
    precision = recall = used = 0.0
    for n in orders:
        a, b = ngrams(said, n), ngrams(wanted, n)
        if not b or not a:
            continue
        same = (a & b).total()
        precision += same / a.total()
        recall += same / b.total()
        used += 1
    if not used or not precision + recall:
        return 0.0
    p, r = precision / used, recall / used
    return 5 * p * r / (4 * p + r) if p and r else 0.0


def judge(rubric: Rubric, text: str, prompt: str) -> float:
    """Agreement with the reference by characters: ``chrf`` from 0.3 (nothing) to 0.9 (all).

    0.3 is what the English sentence itself reaches at most, so that a copy is worth nothing. Text
    that is more than twice as long as the reference gets half.
    """
    reference, source = str(rubric["reference"]), str(rubric["source"])
    if words(text) == words(source):
        return 0.0
    score = ramp(chrf(text, reference), 0.3, 0.9)
    return score if len(words(text)) <= 2 * len(words(reference)) else score / 2
