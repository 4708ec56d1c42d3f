package engine

import (
	"bytes"
	"testing"
	"time"

	"github.com/pec-operator/pec-operator/internal/store"
)

func TestWhichCopyStays(t *testing.T) {
	at := func(folder, digest string, flags ...string) storedCopy {
		return storedCopy{GUID: folder + digest, Folder: folder, Digest: digest, Flags: flags}
	}
	for name, c := range map[string]struct {
		copies        []storedCopy
		kept, removed string // GUIDs
		text          string
	}{
		"the first":                                    {[]storedCopy{at("INBOX", "2"), at("INBOX", "1")}, "INBOX1", "INBOX2", textUnited},
		"the one that was filed":                       {[]storedCopy{at("INBOX", "1"), at("Prot", "2")}, "Prot2", "INBOX1", textUnited},
		"the first of two in a folder":                 {[]storedCopy{at("Prot", "1"), at("Prot", "2")}, "Prot1", "Prot2", textUnited},
		"what a merge left among the deleted is none":  {[]storedCopy{at("INBOX", "1"), at(store.Expunged, "2"), at("INBOX", "2")}, "INBOX1", "INBOX2", textUnited},
		"nothing of two that were filed apart":         {[]storedCopy{at("Prot", "1"), at("Altra", "2")}, "", "", textFiled},
		"nothing when one was deleted":                 {[]storedCopy{at("INBOX", "1"), at(store.Expunged, "2")}, "", "", textDeleted},
		"nothing when one is marked so":                {[]storedCopy{at("INBOX", "1"), at("INBOX", "2", `\Deleted`)}, "", "", textDeleted},
		"nothing when none is left":                    {nil, "", "", textDeleted},
		"nothing of three":                             {[]storedCopy{at("INBOX", "1"), at("INBOX", "2"), at("Prot", "2")}, "", "", textCopied},
		"nothing of two of one delivery":               {[]storedCopy{at("INBOX", "1"), at("Prot", "1")}, "", "", textCopied},
		"nothing beside what no engine stored like it": {[]storedCopy{at("INBOX", "1"), at("INBOX", "")}, "", "", textCopied},
	} {
		kept, removed, text := pickCopy(c.copies, "1", "2")
		guid := func(s *storedCopy) string {
			if s == nil {
				return ""
			}
			return s.GUID
		}
		if guid(kept) != c.kept || guid(removed) != c.removed || text != c.text {
			t.Errorf("%s: %q stays, %q goes, %s", name, guid(kept), guid(removed), text)
		}
	}
}

func TestBothSitesNameTheSameFirst(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		one, two siteDelivery
		first    bool
	}{
		"the earlier":                {siteDelivery{site: "b", at: now}, siteDelivery{site: "a", at: now.Add(time.Second)}, true},
		"of one instant the first a": {siteDelivery{site: "b", at: now}, siteDelivery{site: "a", at: now}, false},
	} {
		if c.one.before(c.two) != c.first || c.two.before(c.one) == c.first {
			t.Error(name)
		}
	}
}

func TestWhatAnEngineGaveIsKnownFromWhatIsStored(t *testing.T) {
	raw := []byte("Received: from x\r\n\tby y\r\nSubject: Prova\r\n\r\nCiao\r\n")
	stored := append([]byte("Return-Path: <a@b>\r\nReceived: by d\r\n\twith LMTP\r\nReceived: by h (pec-operator) with LMTP id k1\r\n\tfor <a@b>; today\r\n"), raw...)
	for _, piece := range []int{1, 7, len(stored)} {
		g := newStoredText("k1")
		for rest := stored; len(rest) > 0; rest = rest[min(piece, len(rest)):] {
			if _, err := g.Write(rest[:min(piece, len(rest))]); err != nil {
				t.Fatal(err)
			}
		}
		if g.digest() != store.Digest(raw) {
			t.Errorf("in pieces of %d it is not recognised", piece)
		}
	}
	g := newStoredText("k2")
	if _, err := g.Write(stored); err != nil || g.digest() != "" {
		t.Errorf("without its key it is %q, %v", g.digest(), err)
	}
	if !bytes.Equal(underTrace(raw), []byte("Subject: Prova\r\n\r\nCiao\r\n")) {
		t.Errorf("under its trace it is %q", underTrace(raw))
	}
}
