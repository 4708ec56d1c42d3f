package engine

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/emersion/go-milter"

	"github.com/pec-operator/pec-operator/internal/pec"
)

// The ports whose transactions a milter records.
const (
	portMX         = "mx"
	portSubmission = "submission"
)

const (
	answerFieldTooBig = "550 5.6.0 a header field is too long (more than 53,000 bytes) and may have been cut; please shorten it"
	answerNoDomain    = "550 5.1.3 the recipient's address has no domain; l'indirizzo del destinatario e' senza dominio"
	// answerFormerLogin also ends the connection: Postfix closes it after a 421.
	answerFormerLogin = "421 4.7.0 the password of this mailbox was changed, log in again; la password e' cambiata, accedere di nuovo"
)

// Where a milter listens, Postfix cuts a header field at 60,000 bytes without a word, whatever header_size_limit says (cleanup_message.c,
// KLUDGE_HEADER_LIMIT; stack.headerLimit): at the last line end beyond nine tenths of that, or at the limit where there is none. So a field
// may be the rest of a longer one if it is longer than maxField; and already beyond maxFieldLong where one of its lines is longer than RFC 5322
// 2.1.1 allows, because the last line end may then lie further back.
const (
	maxField     = 59_000 // bytes
	maxFieldLong = 53_900 // bytes, where a line is longer than maxFieldLine
	maxFieldLine = 998    // bytes, without CRLF
)

// wasCut says whether a field may be all that Postfix left of a longer one.
func wasCut(name, value string) bool {
	if len(name)+len(value) <= maxFieldLong {
		return false
	}
	isLong := func(line string) bool { return len(line) > maxFieldLine }
	return len(name)+len(value) > maxField || slices.ContainsFunc(strings.Split(value, "\n"), isLong)
}

// newMilter makes the milter of one port. The macros come at the end of the message: what Connect is told does not reach the
// second message of a connection.
func (e *Engine) newMilter(port string) *milter.Server {
	server := &milter.Server{
		NewMilter: func() milter.Milter { return &milterSession{engine: e, port: port, changesBefore: e.logins.changes()} },
		Actions:   milter.OptSetSymList,
		Protocol:  milter.OptNoConnect | milter.OptNoHelo | milter.OptNoEOH | milter.OptNoUnknown | milter.OptNoData,
		SymList:   map[milter.Stage][]string{milter.StageEOM: {"i", "{client_addr}", "{client_port}", "{auth_authen}"}},
	}
	if port == portSubmission { // no body to judge: the access point does, with a notice
		server.Protocol |= milter.OptNoBody
	}
	return server
}

// milterSession gathers one SMTP transaction.
type milterSession struct {
	milter.NoOpMilter
	engine *Engine
	port   string
	// changesBefore is how many passwords were changed before the connection began, and so before its login.
	changesBefore uint64
	from          string
	rcpts         []string
	// first is the answer that ordinary mail to the first recipient would get.
	first  string
	raw    spool
	inBody bool
	cut    bool // a header field
}

func (s *milterSession) reset() {
	s.from, s.rcpts, s.first, s.inBody, s.cut = "", nil, "", false, false
	s.raw.close()
}

// MailFrom begins a transaction.
func (s *milterSession) MailFrom(from string, m *milter.Modifier) (milter.Response, error) {
	s.reset()
	if s.engine.logins.former(m.Macros["{auth_authen}"], s.changesBefore) {
		return milter.NewResponseStr('y', answerFormerLogin), nil
	}
	s.from = from
	return milter.RespContinue, nil
}

// RcptTo is told of each recipient that Postfix accepted. Whatever its restrictions are it accepts postmaster without a domain, and would
// complete it with the name of this host, and anybody at an address of this host. There are no mailboxes.
func (s *milterSession) RcptTo(written string, m *milter.Modifier) (milter.Response, error) {
	if domain := domainOf(written); domain == written || strings.HasPrefix(domain, "[") {
		return milter.NewResponseStr('y', answerNoDomain), nil
	}
	// The macro is whom Postfix takes it for: the client may have written a route, or quotes that nothing needs.
	rcpt := fold(cmp.Or(m.Macros["{rcpt_addr}"], written))
	if slices.Contains(s.rcpts, rcpt) {
		return milter.RespContinue, nil
	}
	if s.port == portMX {
		if answer := s.apart(rcpt); answer != "" {
			return milter.NewResponseStr('y', answer), nil
		}
	}
	s.rcpts = append(s.rcpts, rcpt)
	return milter.RespContinue, nil
}

// apart is why a recipient may not share the transaction's one answer, "" if it may. What comes from a certified domain is taken to be
// certified, and is answered by notices; a stranger's mail to mailboxes of different answers comes in as many transactions. Of whom nothing
// can be said now is tried again alone: at the end of DATA the others would wait with him.
func (s *milterSession) apart(rcpt string) (answer string) {
	index, _, err := s.engine.providers()
	if err != nil || index.Certified(domainOf(s.from)) {
		return "" // at the end of DATA there is an answer to either
	}
	_, answer, err = s.engine.refusalOf(rcpt, pec.TypeOrdinary, 0)
	if err != nil {
		s.engine.log.Error("judging a recipient", "port", s.port, "error", err)
		return answerTemporary
	}
	if len(s.rcpts) == 0 {
		s.first = answer
	}
	if answer != s.first {
		return answerApart
	}
	return ""
}

// Header adds a field. Postfix hands over folded values with bare line feeds.
func (s *milterSession) Header(name, value string, _ *milter.Modifier) (milter.Response, error) {
	s.cut = s.cut || wasCut(name, value)
	return s.keep(name + ": " + strings.ReplaceAll(strings.ReplaceAll(value, "\r\n", "\n"), "\n", "\r\n") + "\r\n")
}

// BodyChunk adds a piece of the body.
func (s *milterSession) BodyChunk(chunk []byte, _ *milter.Modifier) (milter.Response, error) {
	if !s.inBody {
		s.inBody = true
		if answer, err := s.keep("\r\n"); answer != milter.RespContinue {
			return answer, err
		}
	}
	return s.keep(string(chunk))
}

// keep adds to the message. A full disk is a reason to try again later.
func (s *milterSession) keep(text string) (milter.Response, error) {
	if _, err := s.raw.WriteString(text); err != nil {
		s.engine.log.Error("keeping a message", "port", s.port, "error", err)
		return milter.NewResponseStr('y', answerTemporary), nil
	}
	return milter.RespContinue, nil
}

// Abort forgets the transaction.
func (s *milterSession) Abort(*milter.Modifier) error {
	s.reset()
	return nil
}

// Body is the end of the message: it judges and records, and only then is the client answered.
func (s *milterSession) Body(m *milter.Modifier) (milter.Response, error) {
	defer s.reset()
	if s.engine.logins.former(m.Macros["{auth_authen}"], s.changesBefore) { // it was changed since MAIL
		return milter.NewResponseStr('y', answerFormerLogin), nil
	}
	if !s.inBody { // a message without a body
		_, _ = s.raw.WriteString("\r\n") // what could not be written is missing in the bytes below
	}
	raw, err := s.raw.bytes()
	if err != nil {
		s.engine.log.Error("judging a message", "port", s.port, "error", err)
		return milter.NewResponseStr('y', answerTemporary), nil
	}
	tx := transaction{Port: s.port, From: s.from, Recipients: s.rcpts, Client: m.Macros["{client_addr}"], ClientPort: m.Macros["{client_port}"], User: m.Macros["{auth_authen}"], Cut: s.cut}
	if answer := s.engine.judgeTransaction(m.Macros["i"], tx, raw); answer != "" {
		return milter.NewResponseStr('y', answer), nil
	}
	// Here Postfix takes it for an acceptance. After RespAccept go-milter would make a new session, whose changesBefore is not of before the login.
	return milter.RespContinue, nil
}

// judgeTransaction answers "" if Postfix may take the message, and has then recorded the transaction. Ordinary mail that a
// mailbox does not take is refused here, where its sender's own server tells the sender; a fault of ours is never a refusal.
func (e *Engine) judgeTransaction(queueID string, tx transaction, raw []byte) string {
	if queueID == "" {
		e.log.Error("judging a message", "port", tx.Port, "error", "Postfix sent no queue identifier: milter_end_of_data_macros lacks i")
		return answerTemporary
	}
	if tx.Port == portMX {
		index, roots, err := e.providers()
		if err != nil {
			e.log.Error("judging a message", "port", tx.Port, "queue", queueID, "error", err)
			return answerTemporary
		}
		j := judge(raw, tx.From, pec.Trust{Index: index, Roots: roots, CRLs: e.revocations.Get()}, e.now())
		e.revocations.Want(j.Chain)
		e.metrics.received.WithLabelValues(string(j.Type)).Inc()
		tx.judged(j)
		if isUncertified(j.Type) {
			answer, err := e.judgeOrdinary(&tx, raw)
			if err != nil {
				e.log.Error("judging a message", "port", tx.Port, "queue", queueID, "error", err)
				return answerTemporary
			}
			if answer != "" {
				e.log.Info("refused", "queue", queueID, "client", tx.Client, "type", j.Type, "reasons", j.Errors, "answer", answer)
				return answer
			}
		} else if _, err := e.verdict(j, queueID, raw); err != nil {
			e.log.Error("scanning a message", "port", tx.Port, "queue", queueID, "error", err)
			return answerTemporary
		}
		tx.Scanned = e.settings.Antivirus.Clamd != ""
	}
	if tx.Port == portSubmission {
		return e.judgeSubmission(queueID, tx)
	}
	if err := e.recordTransaction(queueID, tx); err != nil {
		e.log.Error("recording a transaction", "queue", queueID, "error", err)
		return answerTemporary
	}
	return ""
}

// recordTransaction records what Postfix is about to take. It makes no identifier twice as long as its clock goes forward; if it did, the
// first message's record would count for the second. That one is not taken: its client comes again, and gets another identifier.
func (e *Engine) recordTransaction(queueID string, tx transaction) error {
	if found, err := e.lookup(kindTransaction, queueID, nil); err != nil {
		return err
	} else if found {
		return fmt.Errorf("the log has another transaction of queue identifier %s; look at the clock of this host", queueID)
	}
	_, err := e.record(kindTransaction, queueID, "", &tx)
	return err
}
