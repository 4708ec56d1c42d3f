package pecdomain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/controllers/contracts"
	"github.com/pec-operator/pec-operator/controllers/refs"
	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/engines"
	"github.com/pec-operator/pec-operator/internal/reconcile"
)

// closeRows closes the rows, of every domain on this stack, whose Mailbox is gone. A row is never deleted and its mail stays: it
// becomes a tombstone, which says whose it was and since when, and the Mailbox may come back. Because a cache can be behind, only the API server's own word closes a row.
// One that cannot be closed holds up nobody: it is told, and asked for again.
func closeRows(ctx context.Context, s *scope) (reconcile.Result, error) {
	var stillOpen []leftOpen
	for _, held := range s.heldDomains {
		domain := held.Name
		rows, err := s.directory().Rows(ctx, domain)
		if err != nil {
			return reconcile.Result{}, s.directoryWaits(err)
		}
		orphans, err := s.rowsWithoutMailbox(ctx, s.Client, domain, rows)
		if err != nil {
			return reconcile.Result{}, err
		}
		if len(orphans) == 0 {
			continue
		}
		if orphans, err = s.rowsWithoutMailbox(ctx, s.Live, domain, orphans); err != nil {
			return reconcile.Result{}, err
		}
		failed, err := s.closeAll(ctx, orphans)
		if err != nil {
			return reconcile.Result{}, err
		}
		if stillOpen = append(stillOpen, failed...); silent(stillOpen) {
			break // every other row would wait for the same engine
		}
	}
	if len(stillOpen) == 0 {
		return reconcile.Result{}, nil
	}
	c := judgeLeftOpen(stillOpen)
	s.Say(c.Type, c.Status, c.Reason, c.Message)
	if c.Reason == v1alpha1.ReasonClosingFails {
		return reconcile.Result{RequeueAfter: soon}, nil
	}
	return reconcile.Result{RequeueAfter: later}, nil
}

// closeFirst does letGo and closeRows early where the last pass came to no word on the directory, because this one may not get that far either:
// a lost volume or a withdrawn namespace must not hold back a domain that has moved, nor let in the holder of a deleted Mailbox, anywhere on the
// stack. An engine that does not answer is not waited for here.
func closeFirst(ctx context.Context, s *scope) (reconcile.Result, error) {
	c := meta.FindStatusCondition(s.domain.Status.Conditions, v1alpha1.ConditionDirectoryInSync)
	if c == nil || c.Status != metav1.ConditionUnknown || !s.directory().Answers() {
		return reconcile.Result{}, nil
	}
	s.engine = s.Engines.For(engines.First(s.host))
	status, err := s.engine.Status(ctx)
	if err == nil {
		s.heldDomains = status.Domains
		_, err = reconcile.Walk(ctx, s, letGo, closeRows)
	}
	if err != nil {
		logf.FromContext(ctx).V(4).Info("what is over is not ended in this pass", "reason", err.Error())
	}
	return reconcile.Result{}, nil
}

// leftOpen is a row that could not be closed, and why.
type leftOpen struct {
	address string
	err     error
}

// silent says whether a row was not closed because the engine gave no answer. Pure.
func silent(stillOpen []leftOpen) bool {
	return slices.ContainsFunc(stillOpen, func(l leftOpen) bool {
		return !errors.Is(l.err, admin.ErrRefused) && !errors.Is(l.err, engines.ErrUnfinished)
	})
}

// closeAll closes rows, as many at once as one request takes, and answers which it could not close.
func (s *scope) closeAll(ctx context.Context, rows []admin.Mailbox) (stillOpen []leftOpen, err error) {
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(admin.MaxPlaces)
	for _, row := range rows {
		keptOpen, err := s.keptOpenByFreeze(ctx, row)
		if err != nil {
			return nil, errors.Join(err, group.Wait())
		}
		mu.Lock()
		over := silent(stillOpen)
		mu.Unlock()
		if over {
			break
		}
		if keptOpen {
			continue
		}
		group.Go(func() error {
			if err := s.closeRow(ctx, row); err != nil {
				mu.Lock()
				defer mu.Unlock()
				stillOpen = append(stillOpen, leftOpen{row.Address, err})
			}
			return nil
		})
	}
	_ = group.Wait() // what was not closed is in stillOpen
	slices.SortFunc(stillOpen, func(a, b leftOpen) int { return cmp.Compare(a.address, b.address) })
	return stillOpen, nil
}

// closeRow closes a row if it still is what was judged: a Mailbox that was made again meanwhile may have taken it over.
func (s *scope) closeRow(ctx context.Context, judged admin.Mailbox) error {
	row := judged
	row.Access, row.SendingRefused, row.ClosedAt, row.Restored = admin.AccessClosed, "", s.Now.Truncate(time.Second), false
	_, err := s.directory().Place(ctx, admin.Place{Address: row.Address, Mailbox: &row, If: &judged})
	switch {
	case errors.Is(err, admin.ErrChanged):
		return nil
	case err != nil:
		return err
	}
	logf.FromContext(ctx).Info("mailbox closed, its mail stays", "address", row.Address)
	return nil
}

// judgeLeftOpen is RowsLeftOpen, of at least one row. What a person must see to counts before what is tried again. Pure.
func judgeLeftOpen(stillOpen []leftOpen) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionRowsLeftOpen, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonClosingFails}
	whys := make([]string, len(stillOpen))
	for i, l := range stillOpen {
		if errors.Is(l.err, admin.ErrRefused) {
			c.Reason = v1alpha1.ReasonClosingRefused
		}
		whys[i] = l.address + ": " + engines.Why(l.err)
	}
	mailboxes := fmt.Sprintf("%d mailboxes that were deleted, or whose domain has moved, are", len(stillOpen))
	if len(stillOpen) == 1 {
		mailboxes = "a mailbox that was deleted, or whose domain has moved, is"
	}
	c.Message = fmt.Sprintf("%s not closed, so that who knows the password still gets in; it is tried again, and the engine's log says more: %s", mailboxes, reconcile.FirstOf(whys, maxNames, "; "))
	return c
}

// keptOpenByFreeze says whether a migration away keeps a row from being closed, and then says so in DirectoryInSync: until its Freeze ends
// the source stays as its list says.
func (s *scope) keptOpenByFreeze(ctx context.Context, row admin.Mailbox) (bool, error) {
	var migrations v1alpha1.MailboxMigrationList
	key := row.Owner.Namespace + "/" + row.Address
	if err := s.Client.List(ctx, &migrations, client.MatchingFields{refs.MigrationAddress: key}); err != nil {
		return false, fmt.Errorf("listing the migrations of %s: %w", row.Address, err)
	}
	for i := range migrations.Items {
		if _, freezing := migrations.Items[i].Freezing(); freezing {
			if said, is := s.Said(v1alpha1.ConditionDirectoryInSync); is {
				s.True(said.Type, said.Reason, fmt.Sprintf(
					"the stack's directory holds the domain; %s is deleted and stays open until the Freeze of MailboxMigration %s ends", row.Address, migrations.Items[i].Name))
			}
			return true, nil
		}
	}
	return false, nil
}

func (s *scope) directory() *engines.Directory { return s.Engines.Directory(engines.First(s.host)) }

// rowsWithoutMailbox are the open rows that no Mailbox stands for, as far as the reader knows.
func (s *scope) rowsWithoutMailbox(ctx context.Context, reader client.Reader, domain string, rows []admin.Mailbox) ([]admin.Mailbox, error) {
	var mailboxes v1alpha1.MailboxList
	if err := reader.List(ctx, &mailboxes, client.MatchingFields{refs.MailboxDomain: domain}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("listing the mailboxes of %s: %w", domain, err)
	}
	return orphans(rows, mailboxes.Items, s.elsewhere[domain]), nil
}

// orphans are the open rows whose address no Mailbox has, or only one of a namespace that the row is not of. Those of a namespace that has
// the domain elsewhere now are orphans too: what its Mailboxes say is placed there. Pure.
func orphans(rows []admin.Mailbox, mailboxes []v1alpha1.Mailbox, elsewhere string) []admin.Mailbox {
	wanted := make(map[string][]*v1alpha1.Mailbox, len(mailboxes))
	for i := range mailboxes {
		address := mailboxes[i].Address()
		wanted[address] = append(wanted[address], &mailboxes[i])
	}
	var out []admin.Mailbox
	for _, row := range rows {
		isOwn := func(m *v1alpha1.Mailbox) bool {
			return !contracts.Foreign(m, row) && (elsewhere == "" || !isOf(row, elsewhere))
		}
		if isOpen(row) && !slices.ContainsFunc(wanted[row.Address], isOwn) {
			out = append(out, row)
		}
	}
	return out
}
