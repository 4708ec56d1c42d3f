package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/evidence"
	"github.com/pec-operator/pec-operator/internal/pec"
)

const (
	// dailyHour is when a daily notification is sent, on the clocks of Rome.
	dailyHour = 7
	// arrivalsKept is how far back a start looks for arrivals that a daily notification has yet to tell of.
	arrivalsKept = 49 * time.Hour
	// toldAfterStart is how old an arrival may be, that an engine before this one left untold, to be told of one by one.
	toldAfterStart = time.Hour
	// notifyGivenUp is when a notification that the stack's own Postfix did not take is dropped, and notifyRetry how long it waits in between.
	notifyGivenUp = 72 * time.Hour
	notifyRetry   = 5 * time.Minute
	notifyEvery   = 10 * time.Second
)

// arrival is one message that reached a mailbox.
type arrival struct {
	mailbox   string
	key       string // deliveryKey
	at        time.Time
	certified bool      // an envelope with a message, and no receipt
	restored  bool      // read from the log: somebody may have been told of it
	due       time.Time // of the next try
}

// dailyAt is when a daily notification can first tell of the arrival.
func (a arrival) dailyAt() time.Time {
	local := a.at.In(pec.Rome())
	at := time.Date(local.Year(), local.Month(), local.Day(), dailyHour, 0, 0, 0, pec.Rome())
	if !at.After(a.at) {
		at = time.Date(local.Year(), local.Month(), local.Day()+1, dailyHour, 0, 0, 0, pec.Rome())
	}
	return at
}

// arrivals are those whose holders are still to be told, by mailbox. They are a view of the log.
type arrivals struct {
	of   func(ctx context.Context, mailbox string) (admin.Notifications, error)
	wake chan struct{}

	mu sync.Mutex
	by map[string]*untold
}

// untold are a mailbox's arrivals. Its settings are read when something changed, or an arrival is due: of ten thousand messages that
// wait for the morning none costs anything when another one arrives.
type untold struct {
	list    []arrival
	due     time.Time
	changed bool // since the settings were read: they, or the list
}

// add is for each delivery; only certified messages are told of.
func (a *arrivals) add(one arrival) {
	if !one.certified {
		return
	}
	a.mu.Lock()
	if a.by[one.mailbox] == nil {
		a.by[one.mailbox] = &untold{}
	}
	u := a.by[one.mailbox]
	u.list, u.changed = append(u.list, one), true
	a.mu.Unlock()
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// settingsChanged has a mailbox's settings read anew.
func (a *arrivals) settingsChanged(mailbox string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if u := a.by[mailbox]; u != nil {
		u.changed = true
	}
}

// remember is add for a record of the log.
func (a *arrivals) remember(r evidence.Record, now time.Time) error {
	if now.Sub(r.Time) > arrivalsKept {
		return nil
	}
	var data deliveryData
	if err := r.Decode(&data); err != nil {
		return err
	}
	a.add(arrival{mailbox: data.Mailbox, key: r.Key, at: r.Time, certified: data.Type == pec.TypeEnvelope, restored: true})
	return nil
}

// takeDue takes out what is to be looked at.
func (a *arrivals) takeDue(now time.Time) map[string][]arrival {
	a.mu.Lock()
	defer a.mu.Unlock()
	due := map[string][]arrival{}
	for mailbox, u := range a.by {
		if u.changed || !now.Before(u.due) {
			due[mailbox] = u.list
			u.list, u.changed = nil, false
		}
	}
	return due
}

// putBack puts back what of a mailbox is to be told later, and then at the earliest.
func (a *arrivals) putBack(mailbox string, list []arrival, due time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	u := a.by[mailbox]
	if u.list, u.due = append(list, u.list...), due; len(u.list) == 0 {
		delete(a.by, mailbox)
	}
}

// runNotifications tells holders of arrivals until the context ends. Nothing waits for it: a delivery is none the worse for a
// notification that cannot be sent.
func (e *Engine) runNotifications(ctx context.Context) error {
	tick := time.NewTicker(notifyEvery)
	defer tick.Stop()
	for {
		e.notify(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-e.arrivals.wake:
		}
	}
}

// notify is one pass over the arrivals that somebody is to be told of now.
func (e *Engine) notify(ctx context.Context) {
	now := e.now()
	for mailbox, list := range e.arrivals.takeDue(now) {
		n, err := e.arrivals.of(ctx, mailbox)
		if err != nil {
			e.log.Error("reading the notifications of a mailbox", "mailbox", mailbox, "error", err)
			e.arrivals.putBack(mailbox, list, now.Add(notifyRetry)) // or when it is placed (look)
			continue
		}
		messages, later := sortOut(n, list, now)
		for key, about := range messages {
			later = append(later, e.tell(n.Addresses, key, about)...)
		}
		e.arrivals.putBack(mailbox, later, dueOf(n, later))
	}
}

// sortOut says of which of a mailbox's arrivals its holder is told now, by the key of each message to him, and of which later. Of the
// others he is not told. Pure.
func sortOut(n admin.Notifications, list []arrival, now time.Time) (messages map[string][]arrival, later []arrival) {
	messages = map[string][]arrival{}
	for _, a := range list {
		switch {
		case len(n.Addresses) == 0:
		case now.Before(a.dueAs(n.Frequency)):
			later = append(later, a)
		case n.Frequency == admin.Daily:
			key := a.mailbox + " " + dayOf(a.dailyAt())
			messages[key] = append(messages[key], a)
		case a.restored && now.Sub(a.at) > toldAfterStart:
		default:
			messages[a.key] = []arrival{a}
		}
	}
	return messages, later
}

// dueAs is when the holder is told of an arrival at the earliest.
func (a arrival) dueAs(f admin.Frequency) time.Time {
	if f == admin.Daily {
		return latest(a.due, a.dailyAt())
	}
	return a.due
}

// dueOf is when the first of some arrivals is due.
func dueOf(n admin.Notifications, list []arrival) (due time.Time) {
	for i, a := range list {
		if at := a.dueAs(n.Frequency); i == 0 || at.Before(due) {
			due = at
		}
	}
	return due
}

func (e *Engine) notificationsOf(ctx context.Context, mailbox string) (admin.Notifications, error) {
	row, err := e.directory.Mailbox(ctx, mailbox)
	if err == nil && row.Access == admin.AccessClosed { // whoever has the address next is not told of this
		return admin.Notifications{}, nil
	}
	if err := e.notYet(ctx, mailbox, row, err); err != nil {
		return admin.Notifications{}, err
	}
	if errors.Is(err, admin.ErrNotFound) {
		return admin.Notifications{}, nil
	}
	if err != nil {
		return admin.Notifications{}, err
	}
	h, err := e.holder(ctx, row)
	return h.InForce.Notifications, err
}

// tell sends one notification about some arrivals to each address, each once, and returns the arrivals if one was not taken yet.
func (e *Engine) tell(addresses []string, key string, about []arrival) (again []arrival) {
	for _, address := range addresses {
		err := e.tellOnce(address, key+" "+fold(address), about)
		if err == nil {
			continue
		}
		e.log.Warn("sending a notification", "mailbox", about[0].mailbox, "error", err)
		if e.now().Sub(about[0].at) < notifyGivenUp {
			again = about
		}
	}
	for i := range again {
		again[i].due = e.now().Add(notifyRetry)
	}
	return again
}

// notified is a notification that was sent, or never will be.
type notified struct {
	Mailbox string `json:"mailbox"`
	To      string `json:"to"`
	Count   int    `json:"count"`
	Reply   string `json:"reply"`
}

func (e *Engine) tellOnce(to, key string, about []arrival) error {
	if found, err := e.lookup(kindNotified, key, nil); err != nil || found {
		return err
	}
	done := notified{Mailbox: about[0].mailbox, To: to, Count: len(about)}
	problem, err := e.notOrdinary(context.Background(), to)
	if err != nil {
		return err
	}
	if done.Reply = problem; problem == "" {
		// The empty sender: whatever becomes of it, nobody writes back.
		done.Reply, err = e.postfix.send(message{to: to, bytes: e.notification(to, key, about)}, nil)
		if answer, never := permanent(err); never {
			done.Reply, err = oneLine(answer.Error()), nil
		}
		if err != nil {
			return err
		}
	}
	_, err = e.record(kindNotified, key, "", &done)
	return err
}

// notification is the message. It tells of mail and shows none of it; its Message-ID derives from what it tells of.
func (e *Engine) notification(to, key string, about []arrival) []byte {
	mailbox, from := about[0].mailbox, e.settings.Provider.ServiceAddress
	sum := sha256.Sum256([]byte(key))
	count, what := "un messaggio", "A certified message (PEC) has"
	if len(about) > 1 {
		count, what = fmt.Sprintf("%d messaggi", len(about)), fmt.Sprintf("%d certified messages (PEC) have", len(about))
	}
	return []byte(strings.Join([]string{
		"From: <" + from + ">",
		"To: <" + to + ">",
		"Subject: Posta certificata per " + mailbox,
		"Date: " + e.now().In(pec.Rome()).Format(time.RFC1123Z),
		"Message-ID: <" + hex.EncodeToString(sum[:16]) + "@" + e.settings.Provider.MailDomain + ">",
		"Auto-Submitted: auto-generated",
		"X-Auto-Response-Suppress: All",
		"MIME-Version: 1.0",
		"Content-Type: text/plain; charset=us-ascii",
		"",
		"Nella casella di posta elettronica certificata " + mailbox + " e' arrivato:",
		count + ". Si legge nella casella; questo avviso non ne riporta il contenuto.",
		"",
		what + " arrived in the mailbox " + mailbox + ".",
		"Read it there; this notice shows nothing of it.",
		"",
		"Avviso automatico, non certificato: non rispondere. Automatic, not certified: do not answer.",
		"",
	}, "\r\n"))
}

var ordinaryForm = regexp.MustCompile(`^[A-Za-z0-9!#$%&'*+/=?^_{|}~.-]{1,64}@([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]*[a-z0-9])?$`)

// notOrdinary says why neither notifications nor ordinary mail can go to an address, "" if one can. A certified mailbox would get them as
// anomalies, and tell of them in turn.
func (e *Engine) notOrdinary(ctx context.Context, address string) (problem string, err error) {
	if !ordinaryForm.MatchString(address) || len(address) > 254 {
		return "it is no mail address with a domain in lower case", nil
	}
	domains, err := e.directory.Domains(ctx)
	if err != nil {
		return "", err
	}
	index, _, err := e.index.Get()
	if index == nil {
		return "", fmt.Errorf("no providers' index: %w", err)
	}
	if domain := domainOf(address); index.Certified(domain) || slices.ContainsFunc(domains, func(d admin.Domain) bool { return d.Local && d.Name == domain }) {
		return "it is a certified mailbox; this goes to ordinary ones", nil
	}
	return "", nil
}
