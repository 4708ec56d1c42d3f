package pecdomain

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/internal/dns"
	"github.com/pec-operator/pec-operator/internal/reconcile"
)

// ledgerName is the ConfigMap, in the operator's namespace, that counts the writes of the last day over all domains and remembers
// cut-overs. Not in status: that is lost when a resource is made anew, and with it the count of how often its MX was put back.
const ledgerName = "pec-dns-ledger"

// WriteLedger keeps pages, one per domain that was written within a day or whose provider is being changed.
type WriteLedger struct {
	// Live and Client read and write past the cache.
	Live   client.Reader
	Client client.Client
	// Namespace is the operator's own.
	Namespace string

	turn sync.Mutex // one change at a time
}

// refusal is a write that must wait, as an error.
type refusal struct{ dns.Refusal }

func (r refusal) Error() string { return r.Sentence }

// page is what the ledger holds of one domain.
type page struct {
	Writes   []dns.Write  `json:"writes,omitempty"`
	CutOver  *dns.Cutover `json:"cutOver,omitempty"`
	Previous dns.Set      `json:"previous,omitempty"`
}

// read answers every page, by domain.
func (l *WriteLedger) read(ctx context.Context) (map[string]page, *corev1.ConfigMap, error) {
	stored := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: l.Namespace, Name: ledgerName}}
	if err := l.Live.Get(ctx, client.ObjectKeyFromObject(stored), stored); client.IgnoreNotFound(err) != nil {
		return nil, nil, fmt.Errorf("reading the DNS ledger: %w", err)
	}
	pages := map[string]page{}
	for domain, text := range stored.Data {
		var p page
		if err := json.Unmarshal([]byte(text), &p); err != nil {
			return nil, nil, fmt.Errorf("reading the DNS ledger's page of %s: %w", domain, err)
		}
		pages[domain] = p
	}
	return pages, stored, nil
}

// spend enters a write before it is tried, if the limits allow it; domains is how many this operator writes.
func (l *WriteLedger) spend(ctx context.Context, c dns.Change, limits dns.Limits, domains int, now time.Time) error {
	return l.change(ctx, c.Domain, now, func(pages map[string]page) error {
		if r := limits.Allow(writesOf(pages), c, domains, now); r != nil {
			return refusal{*r}
		}
		p := pages[pageOf(c.Domain)]
		p.Writes, p.Previous = append(p.Writes, dns.Write{Domain: c.Domain, Kind: c.Kind, At: now}), c.Was.MX
		pages[pageOf(c.Domain)] = p
		return nil
	})
}

// refund takes a write out again that the server is known not to have made.
func (l *WriteLedger) refund(ctx context.Context, c dns.Change, now time.Time) error {
	return l.change(ctx, c.Domain, now, func(pages map[string]page) error {
		p := pages[pageOf(c.Domain)]
		p.Writes = slices.DeleteFunc(p.Writes, func(w dns.Write) bool { return w.At.Equal(now) })
		pages[pageOf(c.Domain)] = p
		return nil
	})
}

// keep remembers where a cut-over stands.
func (l *WriteLedger) keep(ctx context.Context, domain string, c *dns.Cutover, now time.Time) error {
	return l.change(ctx, domain, now, func(pages map[string]page) error {
		p := pages[pageOf(domain)]
		p.CutOver = c
		pages[pageOf(domain)] = p
		return nil
	})
}

// pageOf is the key of a domain's page: keys hold no final dot.
func pageOf(domain string) string { return strings.TrimSuffix(domain, ".") }

// change alters pages and drops what no longer counts. A write by somebody else in between makes it fail, and the next pass counts
// again.
func (l *WriteLedger) change(ctx context.Context, domain string, now time.Time, alter func(map[string]page) error) error {
	l.turn.Lock()
	defer l.turn.Unlock()
	pages, stored, err := l.read(ctx)
	if err != nil {
		return err
	}
	if err := alter(pages); err != nil {
		return fmt.Errorf("counting a write to %s: %w", domain, err)
	}
	stored.Data = map[string]string{}
	for name, p := range pages {
		p.Writes = dns.Ledger(p.Writes).Since(now)
		if len(p.Writes) == 0 && p.CutOver == nil {
			continue
		}
		text, err := json.Marshal(p)
		if err != nil {
			return fmt.Errorf("writing the DNS ledger: %w", err)
		}
		stored.Data[name] = string(text)
	}
	if stored.ResourceVersion == "" {
		err = l.Client.Create(ctx, stored, reconcile.FieldOwner)
	} else {
		err = l.Client.Update(ctx, stored, reconcile.FieldOwner)
	}
	if apierrors.IsAlreadyExists(err) {
		return apierrors.NewConflict(corev1.Resource("configmaps"), ledgerName, err)
	}
	if err != nil {
		return fmt.Errorf("writing the DNS ledger: %w", err)
	}
	return nil
}

// writesOf are the writes of every page.
func writesOf(pages map[string]page) dns.Ledger {
	var writes dns.Ledger
	for _, p := range pages {
		writes = append(writes, p.Writes...)
	}
	return writes
}
