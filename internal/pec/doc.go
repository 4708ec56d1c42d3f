// Package pec knows the documents of Italian certified mail (PEC): what they look like on the wire, how they are signed, and
// how a received one is judged. It is pure: bytes in, bytes out; no clock, no network, no disk.
//
// Words that the rules use, explained once:
//
//   - accettazione: the access point's receipt to the sender, "sent" in the eyes of the law;
//   - busta di trasporto: the signed envelope around the sender's message;
//   - presa in carico: the receiving provider tells the sending one that it has the envelope;
//   - avvenuta consegna: the delivery point's receipt, "received" in the eyes of the law;
//   - errore di consegna (mancata consegna): the delivery point could not store the message;
//   - preavviso di errore di consegna: twelve or twenty-four hours went by without news of the message;
//   - rilevazione virus: the receiving provider tells the sending one that the envelope carries a virus;
//   - busta di anomalia: a wrapper around mail that is not certified, or not correctly;
//   - daticert.xml: the certification data in every document, the only part that machines read;
//   - postacert.eml: the sender's message in the envelope and in the complete delivery receipt;
//   - gestore: a certified-mail provider; its index is a directory of providers, certificates and domains.
//
// Sources: RFC 6109 (the public English text of the technical rules) sections 2 (messages), 3 (processing), 4 (formats),
// 5.5 (signing certificates); Decreto Ministeriale 2 novembre 2005 articles 6, 12 and its annex; DPR 68/2005 article 3.
// Where real messages and the RFC's examples disagree, what real messages do is what is written here.
//
// The parts: [ReadOriginal] and [CheckFormal] read what a client submitted; [Signer] writes every document, as a stream where it
// carries a whole message ([Signer.WriteEnvelope], [Signer.WriteDelivery], [Signer.WriteAnomaly]); [Certification] is
// daticert.xml; [Classify] judges what arrives, and [Open] shows the steps of the judgement.
package pec
