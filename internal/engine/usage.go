package engine

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	"github.com/pec-operator/pec-operator/internal/admin"
)

// mailboxUsage answers what a mailbox holds, since when, and how much it sends.
func (e *Engine) mailboxUsage(r *http.Request) (any, error) {
	row, err := e.directory.Mailbox(r.Context(), r.PathValue("address"))
	if err != nil {
		return nil, err
	}
	u, err := e.doveadm.usage(r.Context(), row.Address)
	u.Ages, u.SentInMonth = e.ages.of(row.Address), e.senders.month(row.Address, e.now())
	return u, err
}

// usage is what a mailbox holds as its quota counts it: without what the holder deleted and the stack keeps.
func (d *doveadm) usage(ctx context.Context, user string) (admin.Usage, error) {
	var roots []struct{ Type, Value string }
	if err := d.call(ctx, "quotaGet", map[string]any{"user": user}, &roots); err != nil {
		return admin.Usage{}, err
	}
	counted := map[string]int64{}
	for _, root := range roots {
		n, err := strconv.ParseInt(root.Value, 10, 64)
		if err != nil {
			return admin.Usage{}, fmt.Errorf("reading the quota of %s: %s is %q", user, root.Type, root.Value)
		}
		counted[root.Type] = n
	}
	kibibytes, known := counted["STORAGE"]
	if !known {
		return admin.Usage{}, fmt.Errorf("reading the quota of %s: Dovecot does not say how much it holds", user)
	}
	return admin.Usage{Bytes: kibibytes << 10, Messages: counted["MESSAGE"]}, nil
}
