package engine

import (
	"bytes"
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
	answerUncertified = "550 5.7.1 this mailbox takes certified mail (PEC) only; questa casella accetta solo posta elettronica certificata"
	answerAnomaly     = "550 5.7.1 signed by a certified mail provider, but not in the form of a certified message"
	answerFieldTooBig = "550 5.6.0 a header field is longer than 59,000 bytes and cannot be certified whole; please shorten it"
	answerTemporary   = "451 4.3.0 the certified mail engine cannot judge this message now, please try again"
)

// maxField is the longest header field taken, in bytes. Where a milter listens, Postfix cuts a field at 60,000 without a word:
// what was certified then would not be what was sent.
const maxField = 59_000

// newMilter makes the milter of one port. The macros come at the end of the message: what Connect is told does not reach the
// second message of a connection.
func (e *Engine) newMilter(port string) *milter.Server {
	server := &milter.Server{
		NewMilter: func() milter.Milter { return &milterSession{engine: e, port: port} },
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
	from   string
	rcpts  []string
	raw    bytes.Buffer
	inBody bool
}

func (s *milterSession) reset() {
	s.from, s.rcpts, s.inBody = "", nil, false
	s.raw = bytes.Buffer{}
}

// MailFrom begins a transaction.
func (s *milterSession) MailFrom(from string, _ *milter.Modifier) (milter.Response, error) {
	s.reset()
	s.from = from
	return milter.RespContinue, nil
}

// RcptTo is told of each recipient that Postfix accepted.
func (s *milterSession) RcptTo(rcpt string, _ *milter.Modifier) (milter.Response, error) {
	if rcpt = fold(rcpt); !slices.Contains(s.rcpts, rcpt) {
		s.rcpts = append(s.rcpts, rcpt)
	}
	return milter.RespContinue, nil
}

// Header adds a field. Postfix hands over folded values with bare line feeds.
func (s *milterSession) Header(name, value string, _ *milter.Modifier) (milter.Response, error) {
	if len(name)+len(value) > maxField {
		return milter.NewResponseStr('y', answerFieldTooBig), nil
	}
	s.raw.WriteString(name + ": " + strings.ReplaceAll(strings.ReplaceAll(value, "\r\n", "\n"), "\n", "\r\n") + "\r\n")
	return milter.RespContinue, nil
}

// BodyChunk adds a piece of the body.
func (s *milterSession) BodyChunk(chunk []byte, _ *milter.Modifier) (milter.Response, error) {
	if !s.inBody {
		s.raw.WriteString("\r\n")
		s.inBody = true
	}
	s.raw.Write(chunk)
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
	if !s.inBody { // a message without a body
		s.raw.WriteString("\r\n")
	}
	tx := transaction{Port: s.port, From: s.from, Recipients: s.rcpts, Client: m.Macros["{client_addr}"], ClientPort: m.Macros["{client_port}"], User: m.Macros["{auth_authen}"]}
	answer := s.engine.judgeTransaction(m.Macros["i"], tx, s.raw.Bytes())
	if answer == "" {
		return milter.RespAccept, nil
	}
	return milter.NewResponseStr('y', answer), nil
}

// judgeTransaction answers "" if Postfix may take the message, and has then recorded the transaction. Ordinary mail is
// refused here, where its sender's own server tells the sender; a fault of ours is never a refusal.
func (e *Engine) judgeTransaction(queueID string, tx transaction, raw []byte) string {
	if queueID == "" {
		e.log.Error("judging a message", "port", tx.Port, "error", "Postfix sent no queue identifier: milter_end_of_data_macros lacks i")
		return answerTemporary
	}
	if tx.Port == portMX {
		index, roots, err := e.index.Get()
		if index == nil {
			e.log.Error("judging a message", "port", tx.Port, "queue", queueID, "error", err)
			return answerTemporary
		}
		j := judge(raw, tx.From, index, roots, e.now())
		e.metrics.received.WithLabelValues(string(j.Type)).Inc()
		if j.Type == pec.TypeOrdinary || j.Type == pec.TypeAnomaly {
			e.log.Info("refused", "queue", queueID, "client", tx.Client, "type", j.Type, "reasons", j.Errors)
			return map[pec.Type]string{pec.TypeOrdinary: answerUncertified, pec.TypeAnomaly: answerAnomaly}[j.Type]
		}
		tx.Type, tx.Provider, tx.MessageID = j.Type, j.Provider.Name, j.MessageID
	}
	if tx.Port == portSubmission {
		return e.judgeSubmission(queueID, tx)
	}
	if _, err := e.record(kindTransaction, queueID, "", &tx); err != nil {
		e.log.Error("recording a transaction", "queue", queueID, "error", err)
		return answerTemporary
	}
	return ""
}
