package retention

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/pec-operator/pec-operator/internal/store"
)

// keeping is a mailbox that keeps records.
type keeping struct {
	*mailbox
	records map[string]string
}

func (k *keeping) PutRecord(_ context.Context, _, name string, raw []byte) error {
	if before, ok := k.records[name]; ok && before != string(raw) {
		return store.ErrInvalid
	}
	k.records[name] = string(raw)
	return nil
}

func TestGiveBack(t *testing.T) {
	smallPackages(t, 20)
	place, box := Directory(t.TempDir()), newMailbox(t, 60)
	archive(t, box, place, task(t, noon))
	archived, err := Catalogue(context.Background(), place, office)
	if err != nil {
		t.Fatal(err)
	}
	var one Archived
	for _, a := range archived {
		if a.Class == Certified {
			one = a
		}
	}
	for name, wanted := range map[string]Wanted{
		"one message by its hash":                        {SHA256: one.SHA256},
		"a message with its receipts, by its identifier": {Identifier: one.Identifier},
		"a folder with those below it":                   {Folder: "Prot.2025"},
		"a period":                                       {From: daysAgo(200), Before: daysAgo(150)},
		"a folder in a period":                           {Folder: "INBOX", Before: daysAgo(150)},
		"everything":                                     {},
	} {
		t.Run(name, func(t *testing.T) {
			into := &keeping{&mailbox{folders: map[string][]stored{}}, map[string]string{}}
			into.add("INBOX", noon, []byte("Subject: nuovo\r\n\r\n"))
			plan := GiveBackPlan{Mailbox: MailboxPlan{Address: office}, Wanted: wanted, Into: "Ripristino r1"}
			done, err := GiveBack(context.Background(), place, into, plan)
			var want, got []string
			for _, a := range archived {
				if wanted.is(a.Message) {
					want = append(want, "Ripristino r1/"+a.content())
				}
			}
			for _, m := range into.described(t) {
				if m.Folder != "INBOX" {
					got = append(got, m.content())
				}
			}
			slices.Sort(want)
			slices.Sort(got)
			if err != nil || done.Added != len(want) || done.Existed != 0 || !slices.Equal(got, want) || len(want) == 0 {
				t.Errorf("put back %+v (%v): %d messages, want %d", done, err, len(got), len(want))
			}
			if len(into.folders["INBOX"]) != 1 {
				t.Error("something came into the holder's own folder")
			}
			list := into.records[done.Manifest]
			if store.Digest([]byte(list)) != done.Digest || strings.Count(list, "\n") != len(want) {
				t.Errorf("the list under %q is not what was put back", done.Manifest)
			}
			again, err := GiveBack(context.Background(), place, into, plan)
			if err != nil || again.Added != 0 || again.Existed != done.Added || again.Digest != done.Digest {
				t.Errorf("done twice: first %+v, then %+v (%v)", done, again, err)
			}
		})
	}
	empty := &keeping{&mailbox{folders: map[string][]stored{}}, map[string]string{}}
	if done, err := GiveBack(context.Background(), place, empty, GiveBackPlan{Mailbox: MailboxPlan{Address: office}, Wanted: Wanted{SHA256: "0"}, Into: "x"}); !errors.Is(err, errNothingArchived) || len(empty.records) > 0 {
		t.Errorf("of nothing it put back %+v (%v)", done, err)
	}
}
