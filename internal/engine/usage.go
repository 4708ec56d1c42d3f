package engine

import "net/http"

// mailboxUsage answers what a mailbox holds, since when, and how much it sends.
func (e *Engine) mailboxUsage(r *http.Request) (any, error) {
	row, err := e.directory.Mailbox(r.Context(), r.PathValue("address"))
	if err != nil {
		return nil, err
	}
	u, err := e.doveadmHTTP.usage(r.Context(), row.Address)
	u.Ages, u.SentInMonth = e.ages.of(row.Address), e.senders.month(row.Address, e.now())
	return u, err
}
