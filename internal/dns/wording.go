package dns

// words are the sentences of a request in one language.
type words struct {
	domain, seen, noMX, apex, below, approved, lower, remove, insert, leave, deadline, nsupdate string
	foreign, hybrid, confirm, found                                                             string
	repair                                                                                      map[State]string
}

var italian = words{
	domain:   "Dominio: %s",
	seen:     "Stato accertato il %s su tutti i server autoritativi: %s",
	noMX:     "nessun record MX",
	below:    "Caso 1: nome nella zona %s, gestita da voi.",
	apex:     "Caso 2: zona propria %s; i record vanno alla radice della zona.",
	approved: "Cambio di gestore approvato: %s.",
	lower:    "Prima, con anticipo di almeno %d secondi (%s): abbassare a 300 il TTL dei record attuali. Poi procedere.",
	remove:   "Da togliere, tutti insieme e solo se sono esattamente questi:",
	insert:   "Da inserire:",
	leave:    "Non modificare altro: NS, gli altri record della zona %s, www. Nessun altro MX accanto a questi: non è ammesso.",
	deadline: "Entro il %s. La verifica è automatica, ogni giorno. Conferma a: %s",
	nsupdate: "Lo stesso per nsupdate (non cambia nulla se lo stato non è più quello accertato):",
	foreign: "ATTENZIONE: %s ha già un record MX di un altro gestore. Chi ha già caselle PEC in questo dominio non deve cambiare nulla nel DNS:\n" +
		"togliere o affiancare un MX ferma la consegna della posta certificata e può far uscire il dominio dall'elenco dei domini certificati.\n" +
		"Non modificare l'MX. Se si vuole cambiare gestore serve prima un'approvazione scritta con numero di protocollo.",
	hybrid:  "Accanto all'MX dell'altro gestore ce n'è già uno nostro: una situazione non ammessa, da chiarire subito per telefono.",
	confirm: "Per chiarimenti: %s",
	found:   "Riscontro tecnico: %s",
	repair: map[State]string{
		Conflict:     "Il dominio %s è tenuto da un altro operatore: non modificare nulla e indicare chi se ne occupa.",
		Alias:        "Il nome %s è un alias o risponde da un carattere jolly: va reso un nome proprio prima di poter ricevere posta.",
		LameServer:   "Un server elencato per %s non risponde con autorità: correggere la delega o il server. I record si chiedono dopo.",
		Unverifiable: "I server di %s non rispondono o non concordano: correggerli. I record si chiedono dopo.",
	},
}

var english = words{
	domain:   "Domain: %s",
	seen:     "State verified on %s at all authoritative servers: %s",
	noMX:     "no MX record",
	below:    "Case 1: a name in zone %s, which you run.",
	apex:     "Case 2: a zone of its own, %s; the records go to the zone's apex.",
	approved: "Change of provider, approved: %s.",
	lower:    "First, at least %d seconds (%s) ahead: lower the TTL of the present records to 300. Then go on.",
	remove:   "To be removed, all together and only if they are exactly these:",
	insert:   "To be inserted:",
	leave:    "Change nothing else: NS, the other records of zone %s, www. No other MX beside these: it is not allowed.",
	deadline: "By %s. It is verified every day, automatically. Please confirm to: %s",
	nsupdate: "The same for nsupdate (changes nothing if the state is no longer the one verified):",
	foreign: "WARNING: %s already has an MX record of another provider. Whoever has certified mailboxes in this domain must change nothing in the DNS:\n" +
		"to remove an MX, or to add one beside it, stops certified mail and may take the domain off the list of certified domains.\n" +
		"Leave the MX as it is. A change of provider first needs an approval in writing, with a protocol number.",
	hybrid:  "Beside the other provider's MX there is one of ours already: that is not allowed, and needs a telephone call now.",
	confirm: "Questions to: %s",
	found:   "What was found: %s",
	repair: map[State]string{
		Conflict:     "The domain %s is kept by another operator: change nothing, and tell us who looks after it.",
		Alias:        "The name %s is an alias, or a wildcard answers for it: it must become a name of its own before it can take mail.",
		LameServer:   "A server listed for %s does not answer with authority: mend the delegation or the server. The records are asked for afterwards.",
		Unverifiable: "The servers of %s do not answer, or do not agree: mend them. The records are asked for afterwards.",
	},
}
