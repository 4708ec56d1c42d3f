package pecdomain

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/controllers/index"
	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/reconcile"
)

// closeRows closes the rows, of every domain on this stack, whose Mailbox is gone. A row is never deleted and its mail stays:
// the Mailbox may come back. Because a cache can be behind, only the API server's own word closes a row.
func closeRows(ctx context.Context, s *scope) (reconcile.Result, error) {
	for _, domain := range s.placed {
		rows, err := s.engine.Mailboxes(ctx, domain)
		if err != nil {
			return reconcile.Result{}, s.directoryWaits(err)
		}
		orphans, err := s.without(ctx, s.Client, domain, rows)
		if err != nil || len(orphans) == 0 {
			if err != nil {
				return reconcile.Result{}, err
			}
			continue
		}
		if orphans, err = s.without(ctx, s.Live, domain, orphans); err != nil {
			return reconcile.Result{}, err
		}
		for _, row := range orphans {
			row.Access = admin.AccessClosed
			if err := s.engine.PutMailbox(ctx, row); err != nil {
				return reconcile.Result{}, s.directoryWaits(err)
			}
			logf.FromContext(ctx).Info("mailbox closed, its mail stays", "address", row.Address, "reason", "MailboxDeleted")
		}
	}
	return reconcile.Result{}, nil
}

// without are the open rows that no Mailbox stands for, as far as the reader knows.
func (s *scope) without(ctx context.Context, reader client.Reader, domain string, rows []admin.Mailbox) ([]admin.Mailbox, error) {
	var mailboxes v1alpha1.MailboxList
	if err := reader.List(ctx, &mailboxes, client.MatchingFields{index.MailboxDomain: domain}); err != nil {
		return nil, fmt.Errorf("listing the mailboxes of %s: %w", domain, err)
	}
	return orphans(rows, mailboxes.Items), nil
}

// orphans are the open rows whose address no Mailbox has. Pure.
func orphans(rows []admin.Mailbox, mailboxes []v1alpha1.Mailbox) []admin.Mailbox {
	wanted := make(map[string]bool, len(mailboxes))
	for i := range mailboxes {
		wanted[mailboxes[i].Address()] = true
	}
	var out []admin.Mailbox
	for _, row := range rows {
		if row.Access != admin.AccessClosed && !wanted[row.Address] {
			out = append(out, row)
		}
	}
	return out
}
