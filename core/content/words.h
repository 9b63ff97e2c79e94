/* Every string of the pages: id, key for the policy's `strings`, English, French, German. Included
 * several times. One string is one argument, however long. */
/* clang-format off */
PRV_WORD(TITLE, "title", "Privacy choices", "Vos choix de confidentialité", "Datenschutz-Einstellungen")
PRV_WORD(INTRO, "intro",
         "Choose what your data may be used for. Nothing is allowed by silence, and you can change your mind at any time.",
         "Choisissez à quoi vos données peuvent servir. Le silence ne vaut pas accord, et vous pouvez changer d’avis à tout moment.",
         "Wählen Sie, wofür Ihre Daten verwendet werden dürfen. Schweigen ist keine Zustimmung, und Sie können Ihre Wahl jederzeit ändern.")
PRV_WORD(ACCEPT, "accept", "Accept all", "Tout accepter", "Alle annehmen")
PRV_WORD(REFUSE, "refuse", "Refuse all", "Tout refuser", "Alle ablehnen")
PRV_WORD(SAVE, "save", "Save these choices", "Enregistrer ces choix", "Diese Auswahl speichern")
PRV_WORD(WITHDRAW, "withdraw", "Withdraw everything", "Tout retirer", "Alles widerrufen")
PRV_WORD(WITHDRAW_ABOUT, "withdraw_about",
         "Withdraws every consent and objects to everything that can be objected to.",
         "Retire tous les consentements et s’oppose à tout ce qui peut l’être.",
         "Widerruft jede Einwilligung und widerspricht allem, dem widersprochen werden kann.")
PRV_WORD(ALL_AT_ONCE, "all_at_once", "All at once", "En une fois", "Alles auf einmal")
PRV_WORD(ONE_BY_ONE, "one_by_one", "One by one", "Un par un", "Einzeln")
PRV_WORD(ALLOW, "allow", "I allow this", "J’autorise", "Ich erlaube das")
PRV_WORD(OBJECT, "object", "I object", "Je m’oppose", "Ich widerspreche")
PRV_WORD(ALWAYS, "always", "Needed, always on", "Nécessaire, toujours actif", "Notwendig, immer aktiv")
PRV_WORD(NOW_ALLOWED, "now_allowed", "Now: allowed", "Actuellement : autorisé", "Derzeit: erlaubt")
PRV_WORD(NOW_DENIED, "now_denied", "Now: not allowed", "Actuellement : non autorisé", "Derzeit: nicht erlaubt")
PRV_WORD(OVERRIDDEN, "overridden",
         "You allowed this, but your browser’s opt-out signal comes first.",
         "Vous l’avez autorisé, mais le signal de refus de votre navigateur prévaut.",
         "Sie haben das erlaubt, aber das Widerspruchssignal Ihres Browsers geht vor.")
PRV_WORD(ACCOUNT_ONLY, "account_only", "Only for visitors who are signed in.", "Uniquement pour les visiteurs connectés.",
         "Nur für angemeldete Besucher.")
PRV_WORD(BASIS, "basis", "Legal basis", "Base légale", "Rechtsgrundlage")
PRV_WORD(BASIS_CONTRACT, "basis_contract", "contract", "contrat", "Vertrag")
PRV_WORD(BASIS_LEGAL, "basis_legal_obligation", "legal obligation", "obligation légale", "rechtliche Verpflichtung")
PRV_WORD(BASIS_VITAL, "basis_vital_interests", "vital interests", "intérêts vitaux", "lebenswichtige Interessen")
PRV_WORD(BASIS_PUBLIC, "basis_public_task", "public task", "mission d’intérêt public", "öffentliche Aufgabe")
PRV_WORD(BASIS_LEGITIMATE, "basis_legitimate_interests", "legitimate interests", "intérêts légitimes",
         "berechtigte Interessen")
PRV_WORD(BASIS_CONSENT, "basis_consent", "your consent", "votre consentement", "Ihre Einwilligung")
PRV_WORD(VENDORS, "vendors", "Who receives data", "Destinataires", "Empfänger")
PRV_WORD(LOCATION, "location", "Location", "Lieu", "Ort")
PRV_WORD(SAFEGUARD, "safeguard", "Safeguard", "Garantie", "Garantie")
PRV_WORD(COOKIES, "cookies", "Cookies", "Cookies", "Cookies")
PRV_WORD(COOKIE_NAME, "cookie_name", "Name", "Nom", "Name")
PRV_WORD(COOKIE_LIFE, "cookie_life", "Life", "Durée", "Dauer")
PRV_WORD(COOKIE_ABOUT, "cookie_about", "About", "Usage", "Zweck")
PRV_WORD(GPC, "gpc", "Opt-out request honoured (Global Privacy Control).",
         "Demande de refus prise en compte (Global Privacy Control).",
         "Widerspruch wird beachtet (Global Privacy Control).")
PRV_WORD(DNT, "dnt", "Do Not Track is on and honoured.", "Do Not Track est actif et pris en compte.",
         "Do Not Track ist an und wird beachtet.")
PRV_WORD(UNDER, "under", "Because of the age that is known, some of this is off.",
         "En raison de l’âge connu, une partie est désactivée.", "Wegen des bekannten Alters ist einiges abgeschaltet.")
PRV_WORD(RESTRICTED, "restricted", "Processing of your data is restricted.", "Le traitement de vos données est limité.",
         "Die Verarbeitung Ihrer Daten ist eingeschränkt.")
PRV_WORD(RECORD, "record", "Your record", "Votre enregistrement", "Ihr Eintrag")
PRV_WORD(RECORD_ID, "record_id", "Record", "Enregistrement", "Eintrag")
PRV_WORD(RECORD_NONE, "record_none", "Nothing is stored about your choices but a cookie in your browser.",
         "Rien n’est conservé sur vos choix, hormis un cookie dans votre navigateur.",
         "Über Ihre Wahl ist nichts gespeichert außer einem Cookie in Ihrem Browser.")
PRV_WORD(RECORD_ABSENT, "record_absent", "You have not chosen yet, and nothing is stored.",
         "Vous n’avez pas encore choisi ; rien n’est conservé.", "Sie haben noch nicht gewählt; nichts ist gespeichert.")
PRV_WORD(DECIDED, "decided", "Chosen on", "Choisi le", "Gewählt am")
PRV_WORD(EXPIRES, "expires", "We ask again after", "Nous redemanderons après le", "Wir fragen wieder nach dem")
PRV_WORD(CONTROLLER, "controller", "Responsible", "Responsable", "Verantwortlich")
PRV_WORD(CONTACT, "contact", "Contact", "Contact", "Kontakt")
PRV_WORD(POLICY, "policy", "Privacy policy", "Politique de confidentialité", "Datenschutzerklärung")
PRV_WORD(VERSION, "version", "Version", "Version", "Fassung")
PRV_WORD(EFFECTIVE, "effective", "in effect since", "en vigueur depuis le", "gültig seit")
PRV_WORD(STORAGE, "storage", "Data is stored in", "Lieu de conservation", "Speicherort")
PRV_WORD(AUTHORITY, "authority", "Supervisory authority", "Autorité de contrôle", "Aufsichtsbehörde")
PRV_WORD(OPT_OUT_TITLE, "opt_out_title", "Do not sell or share my personal information",
         "Ne pas vendre ni partager mes données personnelles", "Meine Daten nicht verkaufen oder weitergeben")
PRV_WORD(OPT_OUT_ABOUT, "opt_out_about", "This opts you out of:", "Ceci vous retire de :", "Damit widersprechen Sie:")
PRV_WORD(OPT_OUT_BUTTON, "opt_out_button", "Opt out", "Refuser", "Widersprechen")
PRV_WORD(OPT_OUT_DONE, "opt_out_done", "You have opted out.", "Votre refus est enregistré.",
         "Ihr Widerspruch ist gespeichert.")
PRV_WORD(OPT_OUT_NONE, "opt_out_none", "This site does not sell or share personal information.",
         "Ce site ne vend ni ne partage de données personnelles.", "Diese Website verkauft und teilt keine personenbezogenen Daten.")
PRV_WORD(ALL_CHOICES, "all_choices", "All privacy choices", "Tous les choix", "Alle Einstellungen")
PRV_WORD(AGE_TITLE, "age_title", "Your date of birth", "Votre date de naissance", "Ihr Geburtsdatum")
PRV_WORD(AGE_ABOUT, "age_about", "The date is used once and not kept.",
         "La date est utilisée une fois et n’est pas conservée.", "Das Datum wird einmal verwendet und nicht gespeichert.")
PRV_WORD(YEAR, "year", "Year", "Année", "Jahr")
PRV_WORD(MONTH, "month", "Month", "Mois", "Monat")
PRV_WORD(DAY, "day", "Day", "Jour", "Tag")
PRV_WORD(CONTINUE, "continue", "Continue", "Continuer", "Weiter")
PRV_WORD(AGE_UNDER, "age_under", "By your answer, this part of the site is not open to you.",
         "D’après votre réponse, cette partie du site ne vous est pas ouverte.",
         "Nach Ihrer Antwort steht Ihnen dieser Teil der Website nicht offen.")
PRV_WORD(AGE_OK, "age_ok", "You have answered. Nothing more is asked.", "Vous avez répondu. Rien d’autre n’est demandé.",
         "Sie haben geantwortet. Mehr wird nicht gefragt.")
PRV_WORD(AGE_NONE, "age_none", "This site does not ask for your age.", "Ce site ne demande pas votre âge.",
         "Diese Website fragt nicht nach Ihrem Alter.")
PRV_WORD(AGE_ANSWERED, "age_answered", "You have answered already, and this answer does not agree with it.",
         "Vous avez déjà répondu, et cette réponse ne concorde pas.",
         "Sie haben bereits geantwortet, und diese Antwort passt nicht dazu.")
PRV_WORD(AGE_BAD, "age_bad", "Please give a real date of birth: year, month and day.",
         "Indiquez une vraie date de naissance : année, mois et jour.",
         "Bitte geben Sie ein wirkliches Geburtsdatum an: Jahr, Monat und Tag.")
PRV_WORD(NO_COOKIES_TITLE, "no_cookies_title", "Cookies are needed here", "Les cookies sont nécessaires ici",
         "Hier sind Cookies nötig")
PRV_WORD(NO_COOKIES, "no_cookies",
         "Your browser did not keep the cookie that remembers your answer. Allow cookies for this site, then try again.",
         "Votre navigateur n’a pas conservé le cookie qui retient votre réponse. Autorisez les cookies pour ce site, puis réessayez.",
         "Ihr Browser hat das Cookie nicht behalten, das sich Ihre Antwort merkt. Erlauben Sie Cookies für diese Website und versuchen Sie es noch einmal.")
PRV_WORD(KEPT, "kept", "Your answer is kept in a cookie. If you are asked again, your browser does not keep it.",
         "Votre réponse est conservée dans un cookie. Si la question revient, votre navigateur ne le conserve pas.",
         "Ihre Antwort steht in einem Cookie. Werden Sie wieder gefragt, behält Ihr Browser es nicht.")
PRV_WORD(CONFIRM_TITLE, "confirm_title", "Please confirm", "Merci de confirmer", "Bitte bestätigen")
PRV_WORD(CONFIRM, "confirm",
         "Your browser did not say where this form came from. If you sent it yourself, confirm it within ten minutes.",
         "Votre navigateur n’a pas indiqué d’où vient ce formulaire. Si vous l’avez envoyé vous-même, confirmez-le sous dix minutes.",
         "Ihr Browser hat nicht gesagt, woher dieses Formular kommt. Wenn Sie es selbst abgeschickt haben, bestätigen Sie es innerhalb von zehn Minuten.")
PRV_WORD(CONFIRM_BUTTON, "confirm_button", "Confirm", "Confirmer", "Bestätigen")
