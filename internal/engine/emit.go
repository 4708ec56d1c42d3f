package engine

import (
	"fmt"
	"io"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/pec-operator/pec-operator/internal/pec"
)

// notice is one notice to be issued.
type notice struct {
	id         string // Message-ID, derived, so that a second emission is recognised as such
	kind       pec.Type
	identifier string
	to         string // "" when there is nobody to tell
	about      string // the recipient concerned, "" if all
	write      func(w io.Writer, s *pec.Signer) error
}

// issue makes a notice once, keeps it, and hands it to Postfix. Bytes that a crash left behind are sent as they are: a notice
// signed anew would be another document.
func (e *Engine) issue(n notice) error {
	if n.to == "" {
		return nil
	}
	defer e.locks.lock(n.id)()
	made, found, err := e.madeNotice(n.id)
	if err != nil {
		return err
	}
	if !found {
		if made, err = e.make(n); err != nil {
			return err
		}
	}
	raw, done, err := e.inCustody(made.Digest)
	if err != nil {
		return err
	}
	defer done()
	_, err = e.inject(n.identifier, message{from: e.settings.Provider.ServiceAddress, to: made.To, envid: n.id, bytes: raw}, permanentAddress)
	return err
}

// madeNotice finds a notice that was made, here or at the other site, with its bytes. When the other site made it, fell silent and
// left no bytes here, it is made anew: under the same Message-ID, so that one of the two is kept.
func (e *Engine) madeNotice(id string) (made noticeData, found bool, err error) {
	if found, err = e.lookup(kindNotice, id, &made); err != nil || found {
		return made, found, err
	}
	if found, err = e.known(kindNotice, id, &made); err != nil || !found || e.custody.Has(made.Digest) {
		return made, found, err
	}
	if e.replica.speaks(e.now()) {
		return made, false, fmt.Errorf("the other site made the notice %s, and its bytes are not here yet", id)
	}
	return noticeData{}, false, nil
}

func (e *Engine) make(n notice) (noticeData, error) {
	signer, err := e.signer.Get()
	if signer == nil {
		return noticeData{}, fmt.Errorf("making %s of %s: no signing certificate: %w", n.kind, n.identifier, err)
	}
	digest, err := e.custody.Write(func(w io.Writer) error { return n.write(w, signer) })
	if err != nil {
		return noticeData{}, fmt.Errorf("making %s of %s: %w", n.kind, n.identifier, err)
	}
	made := noticeData{Type: n.kind, To: n.to, About: n.about, Digest: digest}
	if _, err := e.record(kindNotice, n.id, n.identifier, &made); err != nil {
		return noticeData{}, err
	}
	e.metrics.notices.WithLabelValues(string(n.kind)).Inc()
	return made, nil
}

// inject puts a message back into Postfix once. m.envid is the message's own Message-ID: Postfix names it in the bounce, by
// which bounce.go finds what failed. A crash between Postfix' answer and our record sends twice; the delivery point at the
// other end drops the second, because the Message-ID is the same. final says which of its answers ends it.
func (e *Engine) inject(identifier string, m message, final func(error) (*smtp.SMTPError, bool)) (injected, error) {
	key := injectionKey(m.envid, m.to)
	defer e.locks.lock(key)()
	var done injected
	find := e.lookup
	if e.replica.speaks(e.now()) { // what the other site's Postfix took is safe while that site lives
		find = e.known
	}
	if found, err := find(kindInjected, key, &done); err != nil || found {
		return done, err
	}
	reply, err := e.postfix.send(m, nil)
	answer, never := final(err)
	switch {
	case never:
		reply = fmt.Sprintf("%d %s", answer.Code, oneLine(answer.Message))
	case err != nil:
		return done, err
	}
	done = injected{To: m.to, Reply: reply, Refused: never}
	_, err = e.record(kindInjected, key, identifier, &done)
	return done, err
}

func injectionKey(messageID, to string) string { return messageID + " " + fold(to) }

// written is a small document, made in memory, as notice.write.
func written(make func(s *pec.Signer) ([]byte, error)) func(io.Writer, *pec.Signer) error {
	return func(w io.Writer, s *pec.Signer) error {
		raw, err := make(s)
		if err != nil {
			return err
		}
		_, err = w.Write(raw)
		return err
	}
}

// provider is who we are in documents.
func (e *Engine) provider() pec.Provider {
	p := e.settings.Provider
	return pec.Provider{Name: p.Name, MailDomain: p.MailDomain, ServiceAddress: p.ServiceAddress}
}

// noticeTime is the instant that a document shows.
func noticeTime(at time.Time) time.Time { return at.In(pec.Rome()).Truncate(time.Second) }
