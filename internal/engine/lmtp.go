package engine

import (
	"errors"
	"io"
	"log/slog"
	"strings"

	"github.com/emersion/go-smtp"
)

// mail is one LMTP transaction from Postfix.
type mail struct {
	from  string
	rcpts []string
	raw   []byte
}

// handler handles a transaction and answers for each recipient; nil means that what was promised is safe.
type handler func(m mail) []error

// newLMTP makes the server of one point. Neither line nor message is bounded: Postfix bounds both before, and a refusal here
// would come back for a day and end in a bounce that is no certified notice.
func newLMTP(hostname, point string, log *slog.Logger, handle handler) *smtp.Server {
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) {
		return &lmtpSession{point: point, log: log, handle: handle}, nil
	}))
	server.LMTP = true
	server.Domain = hostname
	server.MaxLineLength = 0
	server.MaxMessageBytes = 0
	server.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelWarn)
	return server
}

type lmtpSession struct {
	point  string
	log    *slog.Logger
	handle handler
	mail   mail
}

func (s *lmtpSession) Reset()        { s.mail = mail{} }
func (s *lmtpSession) Logout() error { return nil }

func (s *lmtpSession) Mail(from string, _ *smtp.MailOptions) error {
	s.mail = mail{from: from}
	return nil
}

func (s *lmtpSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.mail.rcpts = append(s.mail.rcpts, to)
	return nil
}

func (s *lmtpSession) Data(io.Reader) error { return errTemporary }

// LMTPData answers each recipient. Whatever went wrong is ours, so the answer is always 4xx.
func (s *lmtpSession) LMTPData(r io.Reader, status smtp.StatusCollector) error {
	var whole spool
	defer whole.close()
	_, err := io.Copy(&whole, r)
	if err == nil {
		s.mail.raw, err = whole.bytes()
	}
	if err != nil {
		s.log.Error("reading a message from Postfix", "point", s.point, "error", err)
		return errTemporary
	}
	defer func() { s.mail.raw = nil }()
	for i, err := range s.handle(s.mail) {
		var answer error
		if err != nil {
			s.log.Error("working on a message", "point", s.point, "recipient", s.mail.rcpts[i], "error", err)
			answer = errTemporary
		}
		status.SetStatus(s.mail.rcpts[i], answer)
	}
	return nil
}

// errTemporary is the one error that leaves towards Postfix. The cause is in our log; Postfix keeps the message.
var errTemporary = &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "the certified mail engine could not finish; its log says why, and this is tried again"}

// sameAnswer is the same answer for each of n recipients.
func sameAnswer(n int, err error) []error {
	list := make([]error, n)
	for i := range list {
		list[i] = err
	}
	return list
}

// permanent says whether a next hop will never take a message, and gives its answer.
func permanent(err error) (answer *smtp.SMTPError, never bool) {
	never = errors.As(err, &answer) && answer.Code >= 500
	return answer, never
}

// permanentAddress is permanent where the recipient's address is why (5.1.x).
func permanentAddress(err error) (answer *smtp.SMTPError, never bool) {
	answer, never = permanent(err)
	return answer, never && answer.EnhancedCode[0] == 5 && answer.EnhancedCode[1] == 1
}

// oneLine makes a server's answer fit for a record and a notice.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
