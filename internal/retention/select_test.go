package retention

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pec-operator/pec-operator/internal/pec"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func daysAgo(days int) time.Time { return noon.AddDate(0, 0, -days) }

// letter is a message of a mailbox by a short name: the name is its GUID, and stands for its bytes.
func letter(name string, days int, change ...func(*Message)) Message {
	m := Message{Folder: "INBOX", GUID: name, Date: daysAgo(days), Size: 1, SHA256: strings.Repeat(name[:1], 64), Class: Ordinary, Type: pec.TypeOrdinary}
	for _, c := range change {
		c(&m)
	}
	return m
}

func in(folder string) func(*Message) { return func(m *Message) { m.Folder = folder } }

func envelope(identifier string) func(*Message) {
	return func(m *Message) {
		m.Class, m.Type, m.Identifier, m.MessageID = Certified, pec.TypeEnvelope, identifier, identifier
	}
}

func receipt(identifier, refers string) func(*Message) {
	return func(m *Message) {
		m.Class, m.Type, m.Identifier, m.Refers = Receipt, pec.TypeDelivery, identifier, refers
	}
}

func TestSelect(t *testing.T) {
	old := Rule{Before: daysAgo(90)}
	for name, tt := range map[string]struct {
		messages []Message
		rule     Rule
		want     string // GUIDs in order
	}{
		"the old go and the young stay": {
			messages: []Message{letter("young", 89), letter("old", 91)}, rule: old, want: "old",
		},
		"a message that arrived at the very instant stays": {
			messages: []Message{letter("edge", 90)}, rule: old, want: "",
		},
		"a receipt goes with its envelope, however young and wherever it lies": {
			messages: []Message{letter("r", 80, receipt("id-1", ""), in("Ricevute")), letter("e", 100, envelope("id-1"))}, rule: old, want: "e r",
		},
		"a receipt goes with the copy that its sender kept": {
			messages: []Message{
				letter("other", 100), letter("delivery", 80, receipt("id-1", "mine@client")),
				letter("sent", 100, in("Sent"), func(m *Message) { m.MessageID = "mine@client" }),
			}, rule: old, want: "other sent delivery",
		},
		"a receipt without an identifier of its own is known by the message it refers to": {
			messages: []Message{
				letter("sent", 100, in("Sent"), func(m *Message) { m.MessageID = "mine@client" }), letter("acceptance", 99, receipt("id-1", "mine@client")),
				letter("huge", 10, receipt("", "mine@client")),
			}, rule: old, want: "sent acceptance huge",
		},
		"an old receipt draws no young message with it": {
			messages: []Message{letter("r", 100, receipt("id-1", "")), letter("e", 10, envelope("id-1"))}, rule: old, want: "r",
		},
		"only a folder, with those below it and not those of a longer name": {
			messages: []Message{letter("a", 100, in("Prot")), letter("b", 100, in("Prot/2025")), letter("c", 100, in("Protocol")), letter("d", 100)},
			rule:     Rule{Before: daysAgo(90), Folders: []string{"Prot"}}, want: "a b",
		},
		"only certified messages, and still their receipts": {
			messages: []Message{letter("o", 100), letter("e", 100, envelope("id-1")), letter("r", 99, receipt("id-1", "")), letter("x", 99, receipt("id-2", ""))},
			rule:     Rule{Before: daysAgo(90), Classes: []Class{Certified}}, want: "e r",
		},
		"equal messages are as many as they are": {
			messages: []Message{letter("b1", 100), letter("b2", 100)}, rule: old, want: "b1 b2",
		},
		"messages that refer to nothing are kin to nobody": {
			messages: []Message{letter("o", 100), letter("p", 10), letter("r", 10, receipt("", ""))}, rule: old, want: "o",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := strings.Join(guids(Select(tt.messages, tt.rule)), " "); got != tt.want {
				t.Errorf("selected %q, want %q", got, tt.want)
			}
		})
	}
}

func guids(messages []Message) []string {
	var names []string
	for _, m := range messages {
		names = append(names, m.GUID)
	}
	return names
}

func TestSelectionDependsOnTheMessagesOnly(t *testing.T) {
	var mailbox []Message
	for i := range 300 {
		m := letter(fmt.Sprintf("%c%03d", 'a'+rune(i%5), i), 80+i%40)
		if i%3 > 0 {
			envelope(fmt.Sprintf("id-%d", i/6))(&m)
		}
		if i%3 == 2 {
			receipt(fmt.Sprintf("id-%d", i/6), "")(&m)
		}
		mailbox = append(mailbox, m)
	}
	rule := Rule{Before: daysAgo(90)}
	want := Select(mailbox, rule)
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	for range 20 {
		random.Shuffle(len(mailbox), func(i, j int) { mailbox[i], mailbox[j] = mailbox[j], mailbox[i] })
		got := Select(mailbox, rule)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("another order of the mailbox made another selection: %s", diff)
		}
		if Digest(got) != Digest(want) {
			t.Fatal("equal selections have unequal digests")
		}
	}
	want[0].Flags = []string{`\Seen`}
	if Digest(want) == Digest(Select(mailbox, rule)) {
		t.Error("a flag changed and the digest did not")
	}
}

func TestPackagesKeepKinTogether(t *testing.T) {
	var mailbox []Message
	for i := range 10 {
		id := fmt.Sprintf("id-%d", i)
		mailbox = append(mailbox, letter(fmt.Sprintf("e%d", i), 200-i, envelope(id)), letter(fmt.Sprintf("r%d", i), 120-i, receipt(id, "")))
	}
	chunks := limits{messages: 3, bytes: 1 << 20}.chunks(Select(mailbox, Rule{Before: noon}))
	for _, chunk := range chunks {
		if len(chunk) != 4 { // two kin of two
			t.Errorf("a package of %q", guids(chunk))
		}
	}
	if len(chunks) != 5 {
		t.Errorf("%d packages", len(chunks))
	}
	if got := (limits{messages: 100, bytes: 2}).chunks(Select(mailbox, Rule{Before: noon})); len(got) != 10 {
		t.Errorf("%d packages of at most two bytes", len(got))
	}
}

func TestDue(t *testing.T) {
	archived := func(name string, days int, change ...func(*Message)) Archived {
		return Archived{Message: letter(name, 300, change...), Day: daysAgo(days)}
	}
	since30 := Removal{ArchivedBefore: daysAgo(30)}
	for name, tt := range map[string]struct {
		archived []Archived
		present  string // first letters of the hashes
		removal  Removal
		want     string
	}{
		"what was archived long enough ago": {archived: []Archived{archived("a", 31), archived("b", 29)}, present: "ab", removal: since30, want: "a"},
		"nothing under a legal hold": {
			archived: []Archived{archived("a", 31)}, present: "a", removal: Removal{ArchivedBefore: daysAgo(30), Held: true},
		},
		"nothing that its holder removed": {archived: []Archived{archived("a", 31), archived("b", 31)}, present: "b", removal: since30, want: "b"},
		"a message waits for its receipt": {
			archived: []Archived{archived("e", 31, envelope("id-1")), archived("f", 29, receipt("id-1", "")), archived("a", 31)}, present: "aef", removal: since30, want: "a",
		},
		"of equal messages as many as are archived":      {archived: []Archived{archived("a", 31)}, present: "aa", removal: since30, want: "a"},
		"of equal messages as many as are in the folder": {archived: []Archived{archived("a", 31), archived("a", 40)}, present: "a", removal: since30, want: "a"},
		"equal messages, each":                           {archived: []Archived{archived("a", 31), archived("a", 40)}, present: "aa", removal: since30, want: "aa"},
	} {
		t.Run(name, func(t *testing.T) {
			present := map[string]int{}
			for _, name := range strings.Split(tt.present, "") {
				present[letter(name, 300).content()]++
			}
			var got string
			for _, line := range Due(present, eligible(tt.archived, tt.removal)) {
				_, hash, _ := strings.Cut(line, "\t")
				got += hash[:1]
			}
			if got != tt.want {
				t.Errorf("due %q, want %q", got, tt.want)
			}
		})
	}
}

func TestCombineDoesNotDependOnTheOrder(t *testing.T) {
	a := Result{Address: "a@pec.test", Due: DueResult{Count: 2, Digest: "x"}}
	b := Result{Address: "b@pec.test", Due: DueResult{Count: 3, Digest: "y"}}
	none := Result{Address: "c@pec.test", Due: DueResult{Digest: DueDigest(nil)}}
	count, digest := Combine([]Result{a, b, none})
	if other, same := Combine([]Result{b, a}); count != 5 || other != 5 || digest != same {
		t.Errorf("%d %s and %d %s", count, digest, other, same)
	}
	b.Due.Count++
	if _, other := Combine([]Result{a, b}); other == digest {
		t.Error("another list has the same digest")
	}
}

func TestMarksTellWhichMailboxesDiffer(t *testing.T) {
	result := func(name string, due int64) Result {
		return Result{Address: name + "@pec.test", Due: DueResult{Count: due, Digest: DueDigest([]string{name})}}
	}
	ours := Marks([]Result{result("anna", 2), result("bruno", 3), result("carla", 0), result("gone", 1)})
	theirs := Marks([]Result{result("dora", 1), result("bruno", 4), result("anna", 2), result("new", 1)})
	if len(ours) != 3*2*Half || !regexp.MustCompile(`^[A-Za-z0-9_-]*$`).MatchString(ours+theirs) {
		t.Fatalf("marks are %q", ours)
	}
	names, others := Differing(ours, theirs, []string{"dora@pec.test", "carla@pec.test", "bruno@pec.test", "anna@pec.test"})
	if !cmp.Equal(names, []string{"bruno@pec.test", "dora@pec.test"}) || others != 2 {
		t.Errorf("%q differ, and %d others", names, others)
	}
	if names, others = Differing(ours, ours, []string{"anna@pec.test"}); len(names) > 0 || others > 0 {
		t.Errorf("of equal lists %q differ, and %d others", names, others)
	}
	var many []Result
	for i := range maxMarks + 1 {
		many = append(many, result(fmt.Sprint(i), 1))
	}
	if Marks(many) != "" || len(Marks(many[1:])) != 12288 {
		t.Error("more mailboxes are marked than a status holds")
	}
}
