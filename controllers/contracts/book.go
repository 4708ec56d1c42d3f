// Package contracts reads what draws on each contract, for the controllers that admit mailboxes under it and that say how it
// stands: every domain of the contract, their Mailboxes, and the rows that their stacks hold.
package contracts

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/controllers/refs"
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
	sites   Sites

	mu    sync.Mutex
	pages map[types.NamespacedName]*entry
	// recalling is since when stacks are known not to know what they were.
	recalling map[types.NamespacedName]ignorance
}

// Sites is what a book knows of the two sites.
type Sites struct {
	// Own is this one's name, and Peer says whether there is another.
	Own  string
	Peer bool
	// StandIn is how long the other one may be silent before this one does without it.
	StandIn time.Duration
}

// entry holds one pool's page; its lock is held while the page is read, so that only one pass reads it.
type entry struct {
	mu   sync.Mutex
	page *Page
	// rows are what the stacks held when they last answered, by domain.
	rows map[types.NamespacedName][]admin.Mailbox
	// pending is since when this book has seen the requests that have nothing yet, by address.
	pending map[string]time.Time
}

// New makes a book over a manager's cache, which has the indexes.
func New(cache client.Reader, pool *engines.Pool, sites Sites, now func() time.Time) *Book {
	return &Book{cache: cache, engines: pool, now: now, sites: sites, pages: map[types.NamespacedName]*entry{}, recalling: map[types.NamespacedName]ignorance{}}
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
	// Recalling is a stack that was built anew and does not know yet which mailboxes were closed; "" when there is none to wait for.
	Recalling string

	// pending is since when the requests were seen that have nothing yet, and newest the last of these times.
	pending map[string]time.Time
	newest  time.Time
	// barred are the domains that name the pool and have no part in it, with why.
	barred      map[types.NamespacedName]string
	read        time.Time
	generations map[types.NamespacedName]int64
}

// Page answers the page of a domain's contract, no older than maxAge and never older than the specs of the domain and of the
// pool. The domain must have a contract.
func (b *Book) Page(ctx context.Context, d *v1alpha1.PECDomain, maxAge time.Duration) (*Page, error) {
	key, _ := refs.Pool(d)
	pool, why, err := Pool(ctx, b.cache, d)
	if err != nil {
		return nil, err
	}
	if why != "" {
		return &Page{Unusable: why}, nil
	}
	e := b.entry(key)
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.page
	if p == nil || b.now().Sub(p.read) > maxAge || !p.knows(pool) || !p.knows(d) {
		if p, err = b.read(ctx, pool, e); err != nil {
			return nil, err
		}
		e.page = p
	}
	if why := p.barred[client.ObjectKeyFromObject(d)]; why != "" {
		return &Page{Unusable: why}, nil
	}
	return p, nil
}

// Pool is the domain whose contract counts for a domain, or why that cannot draw on it and what to do. The domain must have a contract.
func Pool(ctx context.Context, cache client.Reader, d *v1alpha1.PECDomain) (pool *v1alpha1.PECDomain, unusable string, err error) {
	key, _ := refs.Pool(d)
	pool = &v1alpha1.PECDomain{}
	err = cache.Get(ctx, key, pool)
	switch {
	case apierrors.IsNotFound(err):
		return nil, fmt.Sprintf("there is no PECDomain %s in namespace %s; create it, or correct contract.from", key.Name, key.Namespace), nil
	case err != nil:
		return nil, "", fmt.Errorf("reading the pool %s of %s: %w", key, d.Name, err)
	case pool.Spec.Contract == nil || pool.Spec.Contract.From != nil:
		return nil, fmt.Sprintf("PECDomain %s has no contract of its own to draw on; name the domain that has it in contract.from", key), nil
	case !pool.Lends(d.Namespace):
		return nil, fmt.Sprintf("PECDomain %s does not lend its contract to this namespace; its owner adds %q to its contract.allowedNamespaces", key, d.Namespace), nil
	}
	return pool, "", nil
}

func (b *Book) entry(key types.NamespacedName) *entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pages[key] == nil {
		b.pages[key] = &entry{rows: map[types.NamespacedName][]admin.Mailbox{}}
	}
	return b.pages[key]
}

// Forget lets go of the page of a domain that is gone.
func (b *Book) Forget(key types.NamespacedName) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.pages, key)
	delete(b.recalling, key)
}

func (p *Page) knows(d *v1alpha1.PECDomain) bool {
	return p.generations[client.ObjectKeyFromObject(d)] == d.Generation
}

// read makes a page from what is there now.
func (b *Book) read(ctx context.Context, pool *v1alpha1.PECDomain, e *entry) (*Page, error) {
	now := b.now()
	key := client.ObjectKeyFromObject(pool)
	p := &Page{read: now, generations: map[types.NamespacedName]int64{}, barred: map[types.NamespacedName]string{}, Diverged: Diverged(pool), pending: map[string]time.Time{}}
	members, err := b.drawers(ctx, pool, p)
	if err != nil {
		return nil, err
	}
	p.Contract = terms(pool, members, now)
	silent := map[types.NamespacedName]bool{}
	hosts := map[types.NamespacedName]bool{}
	var claims []contract.Claim
	for i := range members {
		d := &members[i]
		var mailboxes v1alpha1.MailboxList
		err := b.cache.List(ctx, &mailboxes, client.InNamespace(d.Namespace), client.MatchingFields{refs.MailboxDomain: d.Name}, client.UnsafeDisableDeepCopy)
		if err != nil {
			return nil, fmt.Errorf("listing the mailboxes of %s: %w", d.Name, err)
		}
		hosts[refs.Host(d)] = true
		claims = append(claims, claimsOf(d, mailboxes.Items, b.rows(ctx, d, e, silent))...)
	}
	var all v1alpha1.PECDomainList
	if err := b.cache.List(ctx, &all, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("listing the domains whose mailboxes count in %s: %w", key, err)
	}
	absent, on := b.absent(ctx, key, all.Items, claims)
	claims = append(claims, absent...)
	for _, host := range on {
		hosts[host] = true
	}
	maps.DeleteFunc(e.rows, func(d types.NamespacedName, _ []admin.Mailbox) bool { _, draws := p.generations[d]; return !draws })
	p.await(claims, e)
	p.Outcome = contract.Decide(p.Contract, claims)
	p.Recalling, err = b.awaited(ctx, hosts)
	return p, err
}

// drawers are the domains that draw on a pool's contract, itself among them; the page notes them, and who names the pool in vain.
func (b *Book) drawers(ctx context.Context, pool *v1alpha1.PECDomain, p *Page) ([]v1alpha1.PECDomain, error) {
	var named v1alpha1.PECDomainList
	key := client.ObjectKeyFromObject(pool)
	if err := b.cache.List(ctx, &named, client.MatchingFields{refs.DomainPool: refs.Key(key)}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("listing who draws on the contract of %s: %w", key, err)
	}
	members := named.Items[:0]
	for i := range named.Items {
		d := named.Items[i]
		own := client.ObjectKeyFromObject(&d)
		p.generations[own] = d.Generation
		if !pool.Lends(d.Namespace) {
			continue
		}
		why, err := b.barred(ctx, &d)
		if err != nil {
			return nil, err
		}
		if why != "" {
			p.barred[own] = why
			continue
		}
		members = append(members, d)
	}
	return members, nil
}

// barred says why a domain has no part in a contract that it may draw on. Whose name is another's would set the other's part and grants;
// who can never be served would take room from those who are.
func (b *Book) barred(ctx context.Context, d *v1alpha1.PECDomain) (string, error) {
	claimant, err := refs.Claimant(ctx, b.cache, d.Name)
	if err != nil {
		return "", err
	}
	if claimant == nil || claimant.Namespace != d.Namespace {
		return "another namespace claimed " + d.Name + " first: nothing of this one counts; DomainConflict says what to do", nil
	}
	if d.Spec.Contract.From == nil || d.Spec.Provider.Hosted == nil {
		return "", nil
	}
	key, host := refs.Host(d), &v1alpha1.PECDomain{}
	if err := b.cache.Get(ctx, key, host); client.IgnoreNotFound(err) != nil {
		return "", fmt.Errorf("reading host %s of %s: %w", key, d.Name, err)
	}
	if !host.Serves(d.Namespace) {
		return "no mailbox of " + d.Name + " can be provisioned, so none takes room in a contract that others draw on: HostReady says what to do", nil
	}
	return "", nil
}

const (
	// brief is how long no new request must have come under a contract before new ones are decided: what is applied together is decided
	// together, and so alike at both sites, in whatever order it arrives.
	brief = 500 * time.Millisecond
	// quiet is that where there is hardly room for what waits, so that a request which is late matters.
	quiet = 2 * time.Second
	// longestQuiet is how long a request waits for that quiet.
	longestQuiet = 15 * time.Second
)

// Settled is when a request is decided by the page as it is: when those that come together with it are there. It is decided by a page
// that was read then, and not before. Pure.
func (p *Page) Settled(address string) time.Time {
	since, waits := p.pending[address]
	if !waits {
		return p.read
	}
	still := brief
	if p.Decisions[address].Near {
		still = quiet
	}
	if calm := p.newest.Add(still); calm.Before(since.Add(longestQuiet)) {
		return calm
	}
	return since.Add(longestQuiet)
}

// Read is when the page was read.
func (p *Page) Read() time.Time { return p.read }

// await notes which requests have nothing yet, and since when they are known here. Nobody else's clock plays a part.
func (p *Page) await(claims []contract.Claim, e *entry) {
	for i := range claims {
		if claims[i].Has != nil {
			continue
		}
		since, known := e.pending[claims[i].Address]
		if !known {
			since = p.read
		}
		p.pending[claims[i].Address] = since
		if since.After(p.newest) {
			p.newest = since
		}
	}
	e.pending = p.pending
}

// Diverged says whether the other site holds another spec of a domain.
func Diverged(d *v1alpha1.PECDomain) bool {
	c := meta.FindStatusCondition(d.Status.Conditions, v1alpha1.ConditionSpecInSync)
	return c != nil && c.Reason == v1alpha1.ReasonSpecsDiffer
}

// rows are what the domain's stack holds of it, or held when it last answered; none when it never did. A stack that does not
// answer is asked once, however many domains it has: one dead stack must not hold up the others of a contract for long.
func (b *Book) rows(ctx context.Context, d *v1alpha1.PECDomain, e *entry, silent map[types.NamespacedName]bool) []admin.Mailbox {
	key, host := client.ObjectKeyFromObject(d), refs.Host(d)
	if meta.IsStatusConditionTrue(d.Status.Conditions, v1alpha1.ConditionDirectoryInSync) && !silent[host] {
		rows, err := b.engines.Directory(engines.First(host)).Rows(ctx, d.Name)
		if err == nil {
			e.rows[key] = rows
		}
		silent[host] = err != nil
	}
	return e.rows[key]
}

// absent are the claims of mailboxes that were admitted under a pool's contract and that no domain of it has now: the domain's resource is
// gone, another stack serves it, or the pool no longer lends to it. Their mail is still there, and a domain that is made again gets them
// back. Where the domain is there and draws on another contract, they count there instead. A row of an earlier release, which does not say
// where it was admitted, counts in its host's contract. hosts are the stacks that hold these rows.
func (b *Book) absent(ctx context.Context, pool types.NamespacedName, all []v1alpha1.PECDomain, claims []contract.Claim) (absent []contract.Claim, hosts []types.NamespacedName) {
	draws := make(map[types.NamespacedName]types.NamespacedName, len(all))
	for i := range all {
		draws[client.ObjectKeyFromObject(&all[i])], _ = refs.Pool(&all[i])
	}
	claimed := make(map[string]bool, len(claims))
	for i := range claims {
		claimed[claims[i].Address] = true
	}
	for i := range all {
		if all[i].Spec.Provider.Type != v1alpha1.ProviderManaged {
			continue
		}
		key := client.ObjectKeyFromObject(&all[i])
		directory := b.engines.Directory(engines.First(key))
		if meta.IsStatusConditionTrue(all[i].Status.Conditions, v1alpha1.ConditionDirectoryInSync) {
			directory.Learn(ctx)
		}
		for _, row := range directory.AdmittedIn(refs.Key(pool)) {
			if claimed[row.Address] || !drew(row, pool, draws[key], draws) {
				continue
			}
			hosts = append(hosts, key)
			claim := contract.Claim{Address: row.Address, Domain: row.Domain, Has: Holding(row)}
			if row.Access != admin.AccessClosed {
				claim.Wants = claim.Has
			}
			absent = append(absent, claim)
		}
	}
	return absent, hosts
}

// drew says whether a row counts in a pool though no domain of that has it. Pure.
func drew(row admin.Mailbox, pool, hosts types.NamespacedName, draws map[types.NamespacedName]types.NamespacedName) bool {
	now, there := draws[types.NamespacedName{Namespace: row.Owner.Namespace, Name: row.Domain}]
	switch {
	case there && now != pool:
		return false
	case row.AdmittedIn == "":
		return hosts == pool && !there
	}
	return row.AdmittedIn == refs.Key(pool)
}

// awaited is the first by name, so that many statuses name the same one, of the hosts that were built anew and that the other site may still
// tell which mailboxes were closed; "" if there is none.
func (b *Book) awaited(ctx context.Context, hosts map[types.NamespacedName]bool) (string, error) {
	for _, host := range slices.SortedFunc(maps.Keys(hosts), func(a, b types.NamespacedName) int { return cmp.Compare(a.String(), b.String()) }) {
		recall, err := b.Recall(ctx, host)
		if err != nil {
			return "", err
		}
		if recall.Awaited {
			return host.Name, nil
		}
	}
	return "", nil
}

// Recall is where a stack stands that was built anew.
type Recall struct {
	// Awaited says that the other site may still tell it what it was: while that does, and for as long as it may be silent in all.
	Awaited bool
	// Overdue says that nothing is awaited any more, neither that nor what this site can do by itself, which had as long again.
	Overdue bool
}

// Recall is the zero Recall for a stack that knows what it was.
func (b *Book) Recall(ctx context.Context, host types.NamespacedName) (Recall, error) {
	log, state := b.engines.Directory(engines.First(host)).Recall()
	lasts := b.now().Sub(b.recallingSince(host, log, state))
	if state != admin.RecallUnderWay && state != admin.RecallSilent {
		return Recall{}, nil
	}
	d := &v1alpha1.PECDomain{}
	if err := b.cache.Get(ctx, host, d); err != nil {
		if apierrors.IsNotFound(err) {
			return Recall{}, nil
		}
		return Recall{}, fmt.Errorf("reading host %s: %w", host, err)
	}
	c := meta.FindStatusCondition(d.Status.Conditions, v1alpha1.ConditionSpecInSync)
	lacks := c != nil && c.Reason == v1alpha1.ReasonPeerLacksObject
	linked := d.Spec.Provider.Managed != nil && d.Spec.Provider.Managed.HasOtherLink(b.sites.Own) && !lacks
	isPulling := state == admin.RecallUnderWay
	return Recall{
		Awaited: b.sites.Peer && (isPulling || linked && lasts < b.sites.StandIn),
		Overdue: !isPulling && lasts >= 2*b.sites.StandIn,
	}, nil
}

// ignorance is since when the log that a stack has is known to be new, and to lack what the stack was.
type ignorance struct {
	log   string
	since time.Time
}

// recallingSince notes since when a stack says that it does not know what it was. That the other site begins to tell it, time and again, is no
// end of that; another log is another beginning.
func (b *Book) recallingSince(host types.NamespacedName, log string, recall admin.Recall) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	if recall != admin.RecallUnderWay && recall != admin.RecallSilent {
		delete(b.recalling, host)
	} else if noted, known := b.recalling[host]; !known || noted.log != log {
		b.recalling[host] = ignorance{log, b.now()}
	}
	return b.recalling[host].since
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

func numbers(c *v1alpha1.Contract) contract.Terms {
	count := func(n *int32, unit int64) *int64 {
		if n == nil {
			return nil
		}
		total := int64(*n) * unit
		return &total
	}
	return contract.Terms{Standard: count(c.Standard, 1), Massive: count(c.Massive, 1), Bytes: count(c.StorageGiB, contract.GiB)}
}
