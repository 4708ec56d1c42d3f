package admin

import "time"

// Replication is what an engine knows of its log at the other site, and of the other's here.
type Replication struct {
	// HeardAll is the instant until which all that the other site recorded is here; zero when it was not heard since the engine's start.
	HeardAll time.Time `json:"heardAll,omitzero"`
	// PeerHolds is up to which record of this engine's log the other site holds it on disk, and PeerCopied up to which it also has the
	// messages that the records name. RecordsBehind are those that it does not hold.
	PeerHolds     uint64 `json:"peerHolds"`
	PeerCopied    uint64 `json:"peerCopied"`
	RecordsBehind uint64 `json:"recordsBehind"`
	// CopiesPending are deliveries whose receipt went before the other site had the message, and that it has not yet.
	CopiesPending int `json:"copiesPending"`
	// CopiesLacking are messages that the other site's records name and that could not be had from it.
	CopiesLacking int `json:"copiesLacking,omitempty"`
	// Divergent counts contents that were offered under the name of another, and Breaks records that did not follow, since the start.
	Divergent int      `json:"divergent,omitempty"`
	Breaks    int      `json:"breaks,omitempty"`
	Mirrors   []Mirror `json:"mirrors,omitempty"`
	LastError string   `json:"lastError,omitempty"`
}

// Mirror is a log that is kept here for the other site, or that this site wrote before it was rebuilt.
type Mirror struct {
	Log     string `json:"log"`
	Records uint64 `json:"records"`
}
