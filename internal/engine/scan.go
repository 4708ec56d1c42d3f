package engine

import (
	"bytes"
	"fmt"
	"time"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/antivirus"
	"github.com/pec-operator/pec-operator/internal/pec"
)

func (e *Engine) scanner() antivirus.Scanner {
	return antivirus.Scanner{Address: e.settings.Antivirus.Clamd, Definitions: e.settings.Antivirus.Definitions}
}

// scan answers with the virus in a message, "" if there is none. A scanner that is not there, or whose definitions are too old,
// is an error: the message waits.
func (e *Engine) scan(raw []byte) (threat string, err error) {
	if e.settings.Antivirus.Clamd == "" {
		return "", nil
	}
	if err := e.definitionsFresh(); err != nil {
		return "", err
	}
	threat, err = e.scanner().Scan(bytes.NewReader(raw))
	outcome := "clean"
	switch {
	case err != nil:
		outcome = "failed"
	case threat != "":
		outcome = "infected"
	}
	e.metrics.scans.WithLabelValues(outcome).Inc()
	return threat, err
}

func (e *Engine) definitionsFresh() error {
	refreshed, err := e.scanner().Refreshed()
	if err != nil {
		return err
	}
	most := time.Duration(e.settings.Antivirus.MaxAgeMinutes) * time.Minute
	if e.now().Sub(refreshed) > most { // the sentence stays the same from one look to the next: it stands in a status
		return fmt.Errorf("the virus definitions were refreshed last at %s and must not be older than %s; messages wait until they are refreshed", refreshed.UTC().Format(time.RFC3339), most)
	}
	return nil
}

// antivirusStatus is what the operator is told of the scanner.
func (e *Engine) antivirusStatus() admin.Antivirus {
	if e.settings.Antivirus.Clamd == "" {
		return admin.Antivirus{}
	}
	s := admin.Antivirus{Configured: true}
	s.Definitions, _ = e.scanner().Refreshed()
	err := e.definitionsFresh()
	if err == nil {
		s.Version, err = e.scanner().Version()
	}
	if err != nil {
		s.Problem = err.Error()
	}
	return s
}

// verdict answers with the virus in a certified message that arrived, "" if there is none. It is given once in a transaction: newer
// definitions must not change what was taken in charge before.
func (e *Engine) verdict(j pec.Judgement, queueID string, raw []byte) (threat string, err error) {
	identifier := j.Certification.Identifier
	key := identifier + " " + queueID
	defer e.locks.lock("scan " + key)()
	var known infected
	if found, err := e.lookup(kindInfected, key, &known); err != nil || found {
		return known.Threat, err
	}
	if taken, err := e.lookup(kindTaken, key, nil); err != nil || taken {
		return "", err
	}
	if threat, err = e.scan(raw); err != nil || threat == "" {
		return "", err
	}
	digest, err := e.custody.Put(raw)
	if err != nil {
		return "", err
	}
	known = infected{Type: j.Type, Threat: threat, Provider: j.Provider.Name, Digest: digest}
	_, err = e.record(kindInfected, key, identifier, &known)
	return known.Threat, err
}

// verdictOf is the verdict of the milter, for what came in from outside. What we put back ourselves had no milter: a notice of ours is
// made of what was scanned, an envelope of ours is scanned as anybody's is.
func (e *Engine) verdictOf(c certified, raw []byte) (threat string, err error) {
	if c.tx.Scanned || !c.recorded && c.judgement.Type != pec.TypeEnvelope {
		var known infected
		_, err := e.lookup(kindInfected, c.judgement.Certification.Identifier+" "+c.queueID, &known)
		return known.Threat, err
	}
	return e.verdict(c.judgement, c.queueID, raw)
}

// infected is a certified message that holds a virus; it is kept as long as the log.
type infected struct {
	Type     pec.Type `json:"type"`
	Threat   string   `json:"threat"`
	Provider string   `json:"provider"`
	Digest   string   `json:"digest"` // custody
}
