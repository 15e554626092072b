"""What codes are called when they are read by the person they are about; in English, as the catalogues have them."""

from typing import Final

EVENTS: Final = {
    "consent-given": "You gave consent",
    "consent-confirmed": "Consent confirmed from the address",
    "consent-withdrawn": "You withdrew consent",
    "objection-raised": "You objected",
    "objection-assessed": "Your objection was assessed",
    "objection-withdrawn": "You took an objection back",
    "complaint-received": "You complained of a message",
    "restriction-placed": "Processing was restricted",
    "restriction-lifted": "The restriction was lifted",
    "erasure-requested": "You asked to be erased",
    "erasure-executed": "Your data were erased",
    "erasure-refused": "Erasure was refused",
    "hold-placed": "Your data are kept for a legal claim",
    "hold-lifted": "Your data are no longer kept for a legal claim",
    "identifier-changed": "An address was changed",
    "identifiers-linked": "Addresses were linked",
    "identifier-verified": "An address was verified",
    "delivery-failed": "A message could not be delivered",
    "relationship-started": "A purchase or contract began",
    "relationship-ended": "The customer relationship ended",
    "contact-recorded": "A contact",
    "repermission-sent": "You were asked whether you still want messages",
    "age-established": "Your age became known",
    "event-voided": "An entry was found to be a mistake",
    "request-received": "You made a request",
    "identity-requested": "You were asked to show who you are",
    "identity-confirmed": "You showed who you are",
    "request-extended": "The time for an answer was extended",
    "request-answered": "Your request was answered",
    "recipient-notified": "A recipient was told",
}
BASES: Final = {
    "consent": "your consent (Art. 6(1)(a))",
    "contract": "a contract with you (Art. 6(1)(b))",
    "legal-obligation": "a legal obligation (Art. 6(1)(c))",
    "vital-interest": "vital interests (Art. 6(1)(d))",
    "public-task": "a public task (Art. 6(1)(e))",
    "legitimate-interest": "a legitimate interest (Art. 6(1)(f))",
}
CHANNELS: Final = {
    "email": "e-mail", "phone": "telephone", "sms": "text message", "post": "post", "device": "device",
    "media": "media", "internal": "internal use",
}  # fmt: skip
IDENTIFIERS: Final = {
    "email": "e-mail address", "phone": "telephone number", "postal": "postal address",
    "customer_no": "customer number", "account_id": "account", "device": "device",
}  # fmt: skip
RIGHTS: Final = {
    "access": "to see your data (Art. 15)",
    "rectification": "to have them corrected (Art. 16)",
    "erasure": "to have them erased (Art. 17)",
    "restriction": "to have their use restricted (Art. 18)",
    "portability": "to receive what you provided, or have it passed on (Art. 20)",
    "objection": "to object; against direct marketing always and without giving reasons (Art. 21)",
    "withdrawal": "to withdraw a consent at any time, for the future (Art. 7(3))",
    "complaint": "to complain to a supervisory authority (Art. 77)",
}
