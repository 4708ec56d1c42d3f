package admin

import "time"

// Stores is how this site's stores compare with the other one's, mailbox by mailbox: by digests of what both hold, taken after each sync.
type Stores struct {
	Mailboxes int `json:"mailboxes"` // that the directory holds
	Compared  int `json:"compared"`  // of which both digests are known, and not older than half an hour
	// Differing is how many hold different mail, or cannot be read here, and Since the oldest difference of them. Most last a moment.
	Differing int       `json:"differing,omitempty"`
	Since     time.Time `json:"since,omitzero"`
	// Diverged is how many have differed for longer than syncs need to mend it, and Addresses the first ten.
	Diverged  int      `json:"diverged,omitempty"`
	Addresses []string `json:"addresses,omitempty"`
	// Own and Theirs are digests over all mailboxes of both sites, made once an hour and when the sites come to agree or to diverge.
	Own    string `json:"own,omitempty"`
	Theirs string `json:"theirs,omitempty"`
	// Reached is when the other site's engine last answered with a digest, Failed when it last could not be reached for one.
	Reached time.Time `json:"reached,omitzero"`
	Failed  time.Time `json:"failed,omitzero"`
}

// DivergedAfter is how long a mailbox must differ to count as diverged: a sync is tried again a dozen times before.
const DivergedAfter = 30 * time.Minute
