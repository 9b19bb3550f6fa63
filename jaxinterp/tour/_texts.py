"""Sentences in two languages that mean about the same, written for the tour."""

ENGLISH = [
    "The old man walked slowly along the river and looked at the water.",
    "She opened the letter with a trembling hand and began to read.",
    "It was already late when we came back to the house.",
    "The children were playing in the garden under the big trees.",
    "He did not know what to say, and so he said nothing at all.",
    "In the morning the rain had stopped and the sky was blue.",
    "My father had been dead for many years, and my mother lived alone.",
    "They sat down at the table and drank a glass of wine together.",
    "The doctor shook his head and left the room without a word.",
    "One day a stranger knocked at the door of the little inn.",
    "I have never seen such a beautiful woman in all my life.",
    "The soldiers had left the village before the night was over.",
]

FRENCH = [
    "Le vieil homme marchait lentement le long de la rivière et regardait l'eau.",
    "Elle ouvrit la lettre d'une main tremblante et se mit à lire.",
    "Il était déjà tard quand nous revînmes à la maison.",
    "Les enfants jouaient dans le jardin sous les grands arbres.",
    "Il ne savait que dire, et il ne dit donc rien du tout.",
    "Le matin, la pluie avait cessé et le ciel était bleu.",
    "Mon père était mort depuis bien des années, et ma mère vivait seule.",
    "Ils s'assirent à la table et burent ensemble un verre de vin.",
    "Le médecin secoua la tête et quitta la chambre sans un mot.",
    "Un jour, un étranger frappa à la porte de la petite auberge.",
    "Je n'ai jamais vu une si belle femme de toute ma vie.",
    "Les soldats avaient quitté le village avant la fin de la nuit.",
]

OPENING = "The young man looked out of the window and"
