"""Words for classes that a dataset keeps as numbers or codes."""

from __future__ import annotations

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

CIFAR10 = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)

FASHION = (
    *("t-shirt or top", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
)

# In the order of the folders' names: AnnualCrop, Forest, HerbaceousVegetation, ...
EUROSAT = (
    *("annual crop land", "forest", "herbaceous vegetation land", "highway or road"),
    *("industrial buildings", "pasture land", "permanent crop land", "residential buildings"),
    *("river", "sea or lake"),
)

CLEVR = tuple(
    f"{count} objects"
    for count in ("three", "four", "five", "six", "seven", "eight", "nine", "ten")
)

RESISC45 = tuple(
    """airplane|airport|baseball_diamond|basketball_court|beach|bridge|chaparral|church|
    circular_farmland|cloud|commercial_area|dense_residential|desert|forest|freeway|golf_course|
    ground_track_field|harbor|industrial_area|intersection|island|lake|meadow|medium_residential|
    mobile_home_park|mountain|overpass|palace|parking_lot|railway|railway_station|
    rectangular_farmland|river|roundabout|runway|sea_ice|ship|snowberg|sparse_residential|stadium|
    storage_tank|tennis_court|terrace|thermal_power_station|wetland""".replace(" ", "")
    .replace("\n", "")
    .split("|")
)
"""The folders of NWPU-RESISC45."""

DMLAB = (
    "an apple or melon nearby",
    "an apple or melon far away",
    "an apple or melon very far away",
    "a lemon nearby",
    "a lemon far away",
    "a lemon very far away",
)
"""Labels 0 to 5 of VTAB's DMLab: fruit that is good to eat and fruit that is not, by distance."""

FACES = ("angry", "disgusted", "fearful", "happy", "sad", "surprised", "neutral")

# Signs 0 to 42 of the benchmark.
TRAFFIC_SIGNS = (
    *(f"speed limit {limit}" for limit in (20, 30, 50, 60, 70, 80)),
    *("end of speed limit 80", "speed limit 100", "speed limit 120", "no overtaking"),
    *("no overtaking by trucks", "right of way at the next crossing", "priority road"),
    *("give way", "stop", "no vehicles", "no trucks", "no entry", "general danger"),
    *("dangerous curve to the left", "dangerous curve to the right", "double curve"),
    *("bumpy road", "slippery road", "road narrows on the right", "road works"),
    *("traffic signals", "pedestrians", "children crossing", "bicycles crossing"),
    *("ice or snow", "wild animals crossing", "end of all limits", "turn right ahead"),
    *("turn left ahead", "ahead only", "straight ahead or right", "straight ahead or left"),
    *("keep right", "keep left", "roundabout", "end of no overtaking"),
    *("end of no overtaking by trucks",),
)

FLOWERS = tuple(
    """pink primrose, hard-leaved pocket orchid, canterbury bells, sweet pea, english marigold,
    tiger lily, moon orchid, bird of paradise, monkshood, globe thistle, snapdragon, colt's foot,
    king protea, spear thistle, yellow iris, globe-flower, purple coneflower, peruvian lily,
    balloon flower, giant white arum lily, fire lily, pincushion flower, fritillary, red ginger,
    grape hyacinth, corn poppy, prince of wales feathers, stemless gentian, artichoke,
    sweet william, carnation, garden phlox, love in the mist, mexican aster, alpine sea holly,
    ruby-lipped cattleya, cape flower, great masterwort, siam tulip, lenten rose, barbeton daisy,
    daffodil, sword lily, poinsettia, bolero deep blue, wallflower, marigold, buttercup,
    oxeye daisy, common dandelion, petunia, wild pansy, primula, sunflower, pelargonium,
    bishop of llandaff, gaura, geranium, orange dahlia, pink-yellow dahlia, cautleya spicata,
    japanese anemone, black-eyed susan, silverbush, californian poppy, osteospermum,
    spring crocus, bearded iris, windflower, tree poppy, gazania, azalea, water lily, rose,
    thorn apple, morning glory, passion flower, lotus, toad lily, anthurium, frangipani,
    clematis, hibiscus, columbine, desert-rose, tree mallow, magnolia, cyclamen, watercress,
    canna lily, hippeastrum, bee balm, ball moss, foxglove, bougainvillea, camellia, mallow,
    mexican petunia, bromelia, blanket flower, trumpet creeper, blackberry lily""".replace(
        "\n    ", " "
    ).split(", ")
)

# ISO 3166 two-letter codes as Country211 names its folders.
_COUNTRIES = """AD Andorra| AE United Arab Emirates| AF Afghanistan| AG Antigua and Barbuda|
    AI Anguilla| AL Albania| AM Armenia| AO Angola| AQ Antarctica| AR Argentina|
    AS American Samoa| AT Austria| AU Australia| AW Aruba| AX Aland Islands| AZ Azerbaijan|
    BA Bosnia and Herzegovina| BB Barbados| BD Bangladesh| BE Belgium| BF Burkina Faso|
    BG Bulgaria| BH Bahrain| BI Burundi| BJ Benin| BL Saint Barthelemy| BM Bermuda| BN Brunei|
    BO Bolivia| BQ Caribbean Netherlands| BR Brazil| BS Bahamas| BT Bhutan| BV Bouvet Island|
    BW Botswana| BY Belarus| BZ Belize| CA Canada| CC Cocos Islands|
    CD Democratic Republic of the Congo| CF Central African Republic|
    CG Republic of the Congo| CH Switzerland| CI Ivory Coast| CK Cook Islands| CL Chile|
    CM Cameroon| CN China| CO Colombia| CR Costa Rica| CU Cuba| CV Cape Verde| CW Curacao|
    CX Christmas Island| CY Cyprus| CZ Czech Republic| DE Germany| DJ Djibouti| DK Denmark|
    DM Dominica| DO Dominican Republic| DZ Algeria| EC Ecuador| EE Estonia| EG Egypt|
    EH Western Sahara| ER Eritrea| ES Spain| ET Ethiopia| FI Finland| FJ Fiji|
    FK Falkland Islands| FM Micronesia| FO Faroe Islands| FR France| GA Gabon|
    GB United Kingdom| GD Grenada| GE Georgia| GF French Guiana| GG Guernsey| GH Ghana|
    GI Gibraltar| GL Greenland| GM Gambia| GN Guinea| GP Guadeloupe| GQ Equatorial Guinea|
    GR Greece| GS South Georgia| GT Guatemala| GU Guam| GW Guinea-Bissau| GY Guyana|
    HK Hong Kong| HM Heard Island| HN Honduras| HR Croatia| HT Haiti| HU Hungary| ID Indonesia|
    IE Ireland| IL Israel| IM Isle of Man| IN India| IO British Indian Ocean Territory|
    IQ Iraq| IR Iran| IS Iceland| IT Italy| JE Jersey| JM Jamaica| JO Jordan| JP Japan|
    KE Kenya| KG Kyrgyzstan| KH Cambodia| KI Kiribati| KM Comoros| KN Saint Kitts and Nevis|
    KP North Korea| KR South Korea| KW Kuwait| KY Cayman Islands| KZ Kazakhstan| LA Laos|
    LB Lebanon| LC Saint Lucia| LI Liechtenstein| LK Sri Lanka| LR Liberia| LS Lesotho|
    LT Lithuania| LU Luxembourg| LV Latvia| LY Libya| MA Morocco| MC Monaco| MD Moldova|
    ME Montenegro| MF Saint Martin| MG Madagascar| MH Marshall Islands| MK North Macedonia|
    ML Mali| MM Myanmar| MN Mongolia| MO Macau| MP Northern Mariana Islands| MQ Martinique|
    MR Mauritania| MS Montserrat| MT Malta| MU Mauritius| MV Maldives| MW Malawi| MX Mexico|
    MY Malaysia| MZ Mozambique| NA Namibia| NC New Caledonia| NE Niger| NF Norfolk Island|
    NG Nigeria| NI Nicaragua| NL Netherlands| NO Norway| NP Nepal| NR Nauru| NU Niue|
    NZ New Zealand| OM Oman| PA Panama| PE Peru| PF French Polynesia| PG Papua New Guinea|
    PH Philippines| PK Pakistan| PL Poland| PM Saint Pierre and Miquelon| PN Pitcairn|
    PR Puerto Rico| PS Palestine| PT Portugal| PW Palau| PY Paraguay| QA Qatar| RE Reunion|
    RO Romania| RS Serbia| RU Russia| RW Rwanda| SA Saudi Arabia| SB Solomon Islands|
    SC Seychelles| SD Sudan| SE Sweden| SG Singapore| SH Saint Helena| SI Slovenia|
    SJ Svalbard and Jan Mayen| SK Slovakia| SL Sierra Leone| SM San Marino| SN Senegal|
    SO Somalia| SR Suriname| SS South Sudan| ST Sao Tome and Principe| SV El Salvador|
    SX Sint Maarten| SY Syria| SZ Eswatini| TC Turks and Caicos Islands| TD Chad|
    TF French Southern Territories| TG Togo| TH Thailand| TJ Tajikistan| TK Tokelau|
    TL East Timor| TM Turkmenistan| TN Tunisia| TO Tonga| TR Turkey| TT Trinidad and Tobago|
    TV Tuvalu| TW Taiwan| TZ Tanzania| UA Ukraine| UG Uganda| UM US Minor Outlying Islands|
    US United States| UY Uruguay| UZ Uzbekistan| VA Vatican City| VC Saint Vincent|
    VE Venezuela| VG British Virgin Islands| VI US Virgin Islands| VN Vietnam| VU Vanuatu|
    WF Wallis and Futuna| WS Samoa| XK Kosovo| YE Yemen| YT Mayotte| ZA South Africa| ZM Zambia|
    ZW Zimbabwe"""
COUNTRIES = dict(entry.strip().split(" ", 1) for entry in _COUNTRIES.split("|"))
