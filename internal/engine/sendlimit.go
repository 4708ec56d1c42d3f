package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/pec-operator/pec-operator/internal/admin"
)

// What a holder is told whose mailbox has a limit. A day's limit is over at midnight, so the answer is one after which a client
// tries again; too many recipients stay too many.
const (
	answerDayLimit   = "450 4.7.1 this mailbox may send %d messages a day and has; it sends again after midnight (Rome); limite giornaliero di %d messaggi raggiunto, riprovare dopo mezzanotte"
	answerRcptLimit  = "550 5.5.3 this mailbox may name %d recipients in a message, and this one has %d; il messaggio ha troppi destinatari"
	answerNotEnabled = "550 5.7.1 this mailbox may not send; casella non abilitata all'invio"
	answerNotYours   = "553 5.7.1 the sender is not the mailbox that logged in; il mittente non e' la casella che ha effettuato l'accesso"
)

// sentToday counts the submissions of the day by sender, those of both sites: a view of the logs. The day is the latest that it was told of:
// one that begins makes it forget the one before, which counts no more.
type sentToday struct {
	mu      sync.Mutex
	day     string // on the calendar of Rome
	by      map[string]int
	counted map[string]bool // records, by hash
}

func newSentToday() *sentToday {
	return &sentToday{by: map[string]int{}, counted: map[string]bool{}}
}

// add counts n submissions, fewer where n is below zero, and returns how many of the day there are.
func (s *sentToday) add(address, day string, n int) (sum int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.begin(day); day < s.day {
		return 0
	}
	s.by[address] += n
	return s.by[address]
}

// addRecord counts the submission that a log tells of, once: a log that was set aside and the one that replaced it tell of the same.
func (s *sentToday) addRecord(address, day, hash string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.begin(day); day < s.day || s.counted[hash] {
		return
	}
	s.by[address]++
	s.counted[hash] = true
}

// begin forgets the day before; it is called with the lock held.
func (s *sentToday) begin(day string) {
	if day > s.day {
		s.day = day
		clear(s.by)
		clear(s.counted)
	}
}

func (s *sentToday) of(address, day string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.day != day {
		return 0
	}
	return s.by[address]
}

// mayNotSend is the answer to a mailbox that may not send now, "" if it may. Postfix asked the same before it took the recipients
// (senders.cf, refusals.cf), and the end of the message may come minutes later.
func mayNotSend(row admin.Mailbox) string {
	switch {
	case row.Access != admin.AccessFull:
		return answerNotEnabled
	case row.SendingRefused == admin.RefusalMigration:
		return admin.AnswerMigration
	case row.SendingRefused == admin.RefusalFirstLogin && !row.PasswordChangedByHolder:
		return admin.AnswerFirstLogin
	}
	return ""
}

// refusalOfSubmission is what the holder is given, with the answer to a submission, "" if it is its sender who logged in, and the mailbox's rights
// and the limit of a message let it be sent. Postfix asks for the login too, and first: where it tells of none, it was not asked to, which is a
// fault of ours.
func (e *Engine) refusalOfSubmission(ctx context.Context, address string, tx transaction) (given admin.Given, answer string, err error) {
	if tx.User == "" {
		return given, "", fmt.Errorf("a submission of %q came without a login", tx.From)
	}
	if fold(tx.User) != address {
		return given, answerNotYours, nil
	}
	row, err := e.directory.Mailbox(ctx, address)
	if err := e.notYet(ctx, address, row, err); err != nil {
		return given, "", err
	}
	if errors.Is(err, admin.ErrNotFound) {
		return given, answerNotEnabled, nil
	}
	if err != nil {
		return given, "", err
	}
	if answer := mayNotSend(row); answer != "" {
		return given, answer, nil
	}
	isLocal, err := e.directory.Local(ctx, row.Domain)
	if err != nil {
		return given, "", err
	}
	if !isLocal {
		return given, admin.AnswerElsewhere, nil
	}
	given, err = e.directory.Given(ctx, address)
	if err == nil && given.RecipientsPerMessage > 0 && len(tx.Recipients) > given.RecipientsPerMessage {
		answer = fmt.Sprintf(answerRcptLimit, given.RecipientsPerMessage, len(tx.Recipients))
	}
	return given, answer, err
}

// recordSubmission records a submission if the day's limit lets it be sent: "" if so, else the answer. The record is what counts it, also
// after a restart.
func (e *Engine) recordSubmission(queueID, address string, tx transaction, given admin.Given) (answer string, err error) {
	day := dayOf(e.now())
	if sum := e.sentToday.add(address, day, 1); given.MessagesPerDay > 0 && sum > given.MessagesPerDay {
		e.sentToday.add(address, day, -1)
		return fmt.Sprintf(answerDayLimit, given.MessagesPerDay, given.MessagesPerDay), nil
	}
	if err := e.recordTransaction(queueID, tx); err != nil {
		e.sentToday.add(address, day, -1)
		return "", err
	}
	return "", nil
}

// judgeSubmission is judgeTransaction for what a mailbox sends.
func (e *Engine) judgeSubmission(queueID string, tx transaction) string {
	address := fold(tx.From)
	given, answer, err := e.refusalOfSubmission(context.Background(), address, tx)
	if err == nil && answer == "" {
		answer, err = e.recordSubmission(queueID, address, tx, given)
	}
	if err != nil {
		e.log.Error("judging a submission", "queue", queueID, "error", err)
		return answerTemporary
	}
	if answer != "" {
		e.metrics.submissions.WithLabelValues("limited").Inc()
		e.log.Info("refused", "queue", queueID, "client", tx.Client, "answer", answer)
	}
	return answer
}
