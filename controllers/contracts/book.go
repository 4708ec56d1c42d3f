// Package contracts reads what draws on each contract, for the controllers that admit mailboxes under it and that say how it
// stands: every domain of the contract, their Mailboxes, and the rows that their stacks hold.
package contracts

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/controllers/index"
	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/contract"
	"github.com/pec-operator/pec-operator/internal/engines"
)

// Book has a page for each contract. Pages are read anew when they are too old for who asks: a thousand mailboxes that are
// applied at once share one.
type Book struct {
	cache   client.Reader
	engines *engines.Pool
	now     func() time.Time

	mu    sync.Mutex
	pages map[types.NamespacedName]*entry
}

// entry holds one pool's page; its lock is held while the page is read, so that only one pass reads it.
type entry struct {
	mu   sync.Mutex
	page *Page
	// rows are what the stacks held when they last answered, by domain.
	rows map[types.NamespacedName][]admin.Mailbox
}

// New makes a book over a manager's cache, which has the indexes.
func New(cache client.Reader, pool *engines.Pool, now func() time.Time) *Book {
	return &Book{cache: cache, engines: pool, now: now, pages: map[types.NamespacedName]*entry{}}
}

// Page is one contract, with the answer to all its claims.
type Page struct {
	Contract contract.Contract
	contract.Outcome
	// Unusable says why there is no contract to decide by, and what to do; "" when there is one.
	Unusable string
	// Diverged says that the sites hold different specs of the domain that the contract is of: what one admits now, the other
	// might not.
	Diverged bool
	// Newest is when the newest request was made that has nothing yet.
	Newest time.Time

	read        time.Time
	generations map[types.NamespacedName]int64
}

// Page answers the page of a domain's contract, no older than maxAge and never older than the specs of the domain and of the
// pool. The domain must have a contract.
func (b *Book) Page(ctx context.Context, d *v1alpha1.PECDomain, maxAge time.Duration) (*Page, error) {
	key, _ := index.Pool(d)
	pool := &v1alpha1.PECDomain{}
	err := b.cache.Get(ctx, key, pool)
	switch {
	case apierrors.IsNotFound(err):
		return &Page{Unusable: fmt.Sprintf("there is no PECDomain %s in namespace %s; create it, or correct contract.from", key.Name, key.Namespace)}, nil
	case err != nil:
		return nil, fmt.Errorf("reading the pool %s of %s: %w", key, d.Name, err)
	case pool.Spec.Contract == nil || pool.Spec.Contract.From != nil:
		return &Page{Unusable: fmt.Sprintf("PECDomain %s has no contract of its own to draw on; name the domain that has it in contract.from", key)}, nil
	}
	e := b.entry(key)
	e.mu.Lock()
	defer e.mu.Unlock()
	if p := e.page; p != nil && b.now().Sub(p.read) <= maxAge && p.knows(pool) && p.knows(d) {
		return p, nil
	}
	page, err := b.read(ctx, pool, e)
	if err != nil {
		return nil, err
	}
	e.page = page
	return page, nil
}

func (b *Book) entry(key types.NamespacedName) *entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pages[key] == nil {
		b.pages[key] = &entry{rows: map[types.NamespacedName][]admin.Mailbox{}}
	}
	return b.pages[key]
}

func (p *Page) knows(d *v1alpha1.PECDomain) bool {
	return p.generations[client.ObjectKeyFromObject(d)] == d.Generation
}

// read makes a page from what is there now.
func (b *Book) read(ctx context.Context, pool *v1alpha1.PECDomain, e *entry) (*Page, error) {
	now := b.now()
	key := client.ObjectKeyFromObject(pool)
	var members v1alpha1.PECDomainList
	if err := b.cache.List(ctx, &members, client.MatchingFields{index.DomainPool: index.Key(key)}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("listing who draws on the contract of %s: %w", key, err)
	}
	p := &Page{Contract: terms(pool, members.Items, now), read: now, generations: map[types.NamespacedName]int64{}, Diverged: Diverged(pool)}
	silent := map[types.NamespacedName]bool{}
	var claims []contract.Claim
	for i := range members.Items {
		d := &members.Items[i]
		p.generations[client.ObjectKeyFromObject(d)] = d.Generation
		if meta.IsStatusConditionTrue(d.Status.Conditions, v1alpha1.ConditionDomainConflict) {
			continue // the domain is another's
		}
		var mailboxes v1alpha1.MailboxList
		err := b.cache.List(ctx, &mailboxes, client.InNamespace(d.Namespace), client.MatchingFields{index.MailboxDomain: d.Name}, client.UnsafeDisableDeepCopy)
		if err != nil {
			return nil, fmt.Errorf("listing the mailboxes of %s: %w", d.Name, err)
		}
		rows, known := b.rows(ctx, d, e, silent)
		own, newest := claimsOf(d, mailboxes.Items, rows, known)
		claims = append(claims, own...)
		if newest.After(p.Newest) {
			p.Newest = newest
		}
	}
	p.Outcome = contract.Decide(p.Contract, claims)
	return p, nil
}

// Diverged says whether the other site holds another spec of a domain.
func Diverged(d *v1alpha1.PECDomain) bool {
	c := meta.FindStatusCondition(d.Status.Conditions, v1alpha1.ConditionSpecInSync)
	return c != nil && c.Reason == v1alpha1.ReasonSpecsDiffer
}

// rows are what the domain's stack holds of it, or held when it last answered; false when it never did. A stack that does not
// answer is asked once, however many domains it has: one dead stack must not hold up the others of a contract for long.
func (b *Book) rows(ctx context.Context, d *v1alpha1.PECDomain, e *entry, silent map[types.NamespacedName]bool) ([]admin.Mailbox, bool) {
	key, host := client.ObjectKeyFromObject(d), index.Host(d)
	if meta.IsStatusConditionTrue(d.Status.Conditions, v1alpha1.ConditionDirectoryInSync) && !silent[host] {
		rows, err := b.engines.Directory(engines.First(host)).Rows(ctx, d.Name)
		if err == nil {
			e.rows[key] = rows
		}
		silent[host] = err != nil
	}
	rows, known := e.rows[key]
	return rows, known
}

// terms are the contract of a pool with the parts of the domains that draw on it. Pure.
func terms(pool *v1alpha1.PECDomain, members []v1alpha1.PECDomain, now time.Time) contract.Contract {
	spec := pool.Spec.Contract
	c := contract.Contract{
		Reference: spec.Reference, Terms: numbers(spec), Ended: contract.Ended(string(spec.ValidUntil), now),
		Parts: map[string]contract.Terms{}, Granted: map[string]bool{},
	}
	if c.Massive == nil {
		c.Massive = new(int64) // none when not given; a part that does not say is bounded by the pool
	}
	for i := range members {
		d := &members[i]
		if d.Spec.Contract.From != nil {
			c.Parts[d.Name] = numbers(d.Spec.Contract)
		}
		for _, g := range d.Spec.Contract.MassiveGrants {
			if address := strings.ToLower(string(g.Address)); d.Spec.Contract.From == nil || strings.HasSuffix(address, "@"+d.Name) {
				c.Granted[address] = true
			}
		}
	}
	return c
}

const gib = 1 << 30

func numbers(c *v1alpha1.Contract) contract.Terms {
	count := func(n *int32, unit int64) *int64 {
		if n == nil {
			return nil
		}
		total := int64(*n) * unit
		return &total
	}
	return contract.Terms{Standard: count(c.Standard, 1), Massive: count(c.Massive, 1), Bytes: count(c.StorageGiB, gib)}
}
