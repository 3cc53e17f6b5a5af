"""The wording of the reports: noun phrases and whole sentences for every finding, present, doubtful or absent.

Fields in braces are filled by `reporting`: side, zone, size, rib, size_ly (an adverb).
"""

# Noun phrases; the reporter wraps them ("There is ...", "... is seen."). A trailing "|s" marks a plural phrase.
NOUNS: dict[str, list[str]] = {
    "Cardiomegaly": ["{size} cardiomegaly", "{size} enlargement of the cardiac silhouette"],
    "Enlarged Cardiomediastinum": [
        "{size} widening of the mediastinum",
        "{size} widening of the superior mediastinum",
        "{size} enlargement of the mediastinal silhouette",
    ],
    "Pleural Effusion": [
        "{size} {side} pleural effusion",
        "{size} {side}-sided pleural effusion",
        "{size} layering {side} pleural effusion",
        "{size} pleural effusion on the {side}",
    ],
    "Pleural Effusion bilateral": [
        "{size} bilateral pleural effusions|s",
        "bilateral {size} pleural effusions|s",
        "{size} layering bilateral pleural effusions|s",
    ],
    "Pneumothorax": [
        "{size} {side} pneumothorax",
        "{size} {side} apical pneumothorax",
        "{size} {side}-sided pneumothorax",
        "{size} pneumothorax on the {side}",
    ],
    "Consolidation": [
        "{side} {zone} lung consolidation",
        "consolidation in the {side} {zone} lung",
        "focal consolidation in the {side} {zone} lung zone",
        "airspace consolidation of the {side} {zone} lung",
    ],
    "Lung Opacity": [
        "patchy opacity in the {side} {zone} lung",
        "hazy {side} {zone} lung opacity",
        "ill-defined opacity projecting over the {side} {zone} lung",
    ],
    "Edema": [
        "{size} pulmonary edema",
        "{size} interstitial pulmonary edema",
        "pulmonary vascular congestion with {size} pulmonary edema",
    ],
    "Atelectasis": [
        "{side} basilar atelectasis",
        "linear atelectasis at the {side} lung base",
        "plate-like atelectasis in the {side} lower lung",
        "{side} lower lung atelectasis",
    ],
    "Atelectasis bilateral": [
        "bibasilar atelectasis",
        "linear atelectasis at both lung bases",
        "bilateral plate-like lower lung atelectasis",
    ],
    "Lung Lesion nodule": [
        "{size} cm nodule in the {side} {zone} lung",
        "{side} {zone} lung nodule measuring {size} cm",
        "round {side} {zone} lung nodule",
    ],
    "Lung Lesion mass": [
        "{size} cm mass in the {side} {zone} lung",
        "{side} {zone} lung mass measuring {size} cm",
        "large round mass in the {side} {zone} lung",
    ],
    "Fracture": [
        "displaced fracture of the {side} {rib} rib",
        "displaced {side} {rib} rib fracture",
        "displaced {side} rib fracture",
    ],
    "Fracture many": [
        "displaced {side} rib fractures|s",
        "multiple displaced {side} rib fractures|s",
        "displaced fractures of {side} ribs|s",
    ],
    "Support Devices pacemaker": [
        "{side} chest wall pacemaker with leads in the right atrium and right ventricle",
        "{side} pectoral pacemaker with two leads",
        "dual-lead {side}-sided pacemaker",
    ],
    "Support Devices central line": [
        "{side} internal jugular central venous catheter with tip in the SVC",
        "{side}-sided central venous line terminating in the SVC",
        "{side} IJ central line",
    ],
    "Support Devices endotracheal tube": [
        "endotracheal tube with tip ___ cm above the carina",
        "endotracheal tube in standard position",
        "ET tube above the carina",
    ],
    "Support Devices enteric tube": [
        "enteric tube coursing below the diaphragm",
        "nasogastric tube with tip in the stomach",
        "orogastric tube extending into the stomach",
    ],
}

# Whole sentences, used about as often as the wrapped noun phrases.
SENTENCES: dict[str, list[str]] = {
    "Cardiomegaly": [
        "The heart is {size_ly} enlarged.",
        "The cardiac silhouette is {size_ly} enlarged.",
        "Heart size is {size_ly} enlarged.",
    ],
    "Enlarged Cardiomediastinum": [
        "The mediastinum is {size_ly} widened.",
        "Mediastinal contours are {size_ly} widened.",
        "The superior mediastinum appears {size_ly} widened.",
    ],
    "Pleural Effusion": ["Blunting of the {side} costophrenic angle is consistent with a {size} pleural effusion."],
    "Pneumothorax": ["A {side} pleural line is seen, in keeping with a {size} pneumothorax."],
    "Consolidation": ["The {side} {zone} lung is consolidated with air bronchograms."],
    "Edema": [
        "Perihilar haziness and indistinct vessels are compatible with {size} pulmonary edema.",
        "Interstitial markings are increased, consistent with {size} pulmonary edema.",
    ],
    "Atelectasis": ["Linear opacities at the {side} base reflect atelectasis."],
    "Support Devices pacemaker": ["A {side}-sided pacemaker is in place."],
    "Support Devices endotracheal tube": ["The patient is intubated, the endotracheal tube ends above the carina."],
}

PRESENT = [
    "There is {a}.",
    "There is {a}.",
    "{A} is present.",
    "{A} is seen.",
    "{A} is noted.",
    "{A} is demonstrated.",
    "{A} is again seen.",
    "Note is made of {a}.",
]
DOUBTFUL = [
    "Possible {n}.",
    "Findings may represent {a}.",
    "{A} cannot be excluded.",
    "Probable {n}.",
    "{A} is suspected.",
    "Questionable {n}.",
]

ABSENT: dict[str, list[str]] = {
    "Cardiomegaly": [
        "Heart size is normal.",
        "The heart is not enlarged.",
        "The cardiac silhouette is normal in size.",
        "There is no cardiomegaly.",
    ],
    "Enlarged Cardiomediastinum": [
        "Mediastinal contours are normal.",
        "The mediastinum is not widened.",
        "Mediastinal contours are unremarkable.",
    ],
    "both silhouettes": [
        "The cardiomediastinal silhouette is normal.",
        "Cardiomediastinal silhouette is unremarkable.",
        "Cardiac and mediastinal contours are within normal limits.",
    ],
    "Pleural Effusion": [
        "No pleural effusion.",
        "There is no pleural effusion.",
        "No effusion is seen.",
        "The costophrenic angles are sharp without effusion.",
    ],
    "Pneumothorax": ["No pneumothorax.", "There is no pneumothorax.", "No pneumothorax is seen."],
    "both pleural": [
        "No pleural effusion or pneumothorax.",
        "There is no pleural effusion or pneumothorax.",
        "There is no effusion or pneumothorax.",
        "No pneumothorax or pleural effusion is seen.",
    ],
    "Consolidation": ["No focal consolidation.", "There is no focal consolidation.", "No consolidation is identified."],
    "Edema": ["There is no pulmonary edema.", "No overt pulmonary edema.", "No evidence of edema."],
    "Lung Lesion": ["No suspicious pulmonary nodule.", "No lung mass or nodule is seen."],
    "Fracture": ["No displaced rib fracture.", "No acute fracture is seen.", "There is no displaced fracture."],
    "Pneumonia": ["No evidence of pneumonia."],
}

PNEUMONIA = {
    1: ["This is compatible with pneumonia.", "Findings are consistent with pneumonia."],
    -1: ["This may represent pneumonia.", "This is concerning for pneumonia.", "Pneumonia cannot be excluded."],
}

CLEAR = ["The lungs are clear.", "Lungs are clear and well expanded.", "Both lungs are clear."]
NORMAL = [
    "No acute cardiopulmonary process.",
    "No acute cardiopulmonary process.",
    "No acute cardiopulmonary abnormality.",
    "No acute intrathoracic process.",
    "Normal chest radiograph.",
    "Unremarkable chest radiographs.",
    "No radiographic evidence of acute disease.",
]
DISTRACTORS = [
    "Comparison is made to the prior study from ___.",
    "The patient is rotated.",
    "Lung volumes are low.",
    "The study is slightly limited by motion.",
    "The visualized upper abdomen is unremarkable.",
    "There are degenerative changes of the thoracic spine.",
    "Findings were discussed with Dr. ___ by telephone.",
    "The aorta is mildly tortuous.",
    "Hilar contours are stable.",
    "Imaged osseous structures are intact.",
    "The patient's chin obscures the lung apices.",
    "Overlying EKG leads are present.",
]
INDICATIONS = [
    "___ year old {person} with shortness of breath",
    "___{gender} with chest pain // eval for acute process",
    "History: ___{gender} with cough and fever",
    "___ year old {person} with ___, please evaluate for interval change",
    "___ {person} s/p fall",
    "Dyspnea.",
    "___{gender} with weakness // ? infiltrate",
    "___ year old {person} with hypoxia, evaluate for effusion",
]
COMPARISONS = ["None.", "___.", "Chest radiograph from ___.", "Chest radiographs dated ___ and CT of ___."]
SIZES = {
    "small": ["small", "tiny", "trace", "small"],
    "moderate": ["moderate", "moderate-sized", "moderate"],
    "large": ["large", "sizable", "large"],
    "mild": ["mild", "mild", "slight"],
    "severe": ["severe", "marked", "severe"],
    "marked": ["marked", "prominent"],
}
ADVERBS = {"mild": "mildly", "moderate": "moderately", "severe": "severely", "marked": "markedly"}
ZONES = {"upper": ["upper", "upper"], "mid": ["mid"], "lower": ["lower", "lower"]}
