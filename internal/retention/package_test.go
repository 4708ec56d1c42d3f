package retention

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// packed is a package of a mailbox as bytes.
func packed(t testing.TB, box *mailbox, rule Rule) (Package, []byte) {
	t.Helper()
	p := NewPackage("ufficio@pec.test", rule.Before, Select(box.described(t), rule))
	var b bytes.Buffer
	if err := p.Write(&b, box.opener()); err != nil {
		t.Fatal(err)
	}
	return p, b.Bytes()
}

func TestAPackageFollowsFromItsSelection(t *testing.T) {
	box := newMailbox(t, 60)
	p, first := packed(t, box, Rule{Before: noon})
	_, second := packed(t, box, Rule{Before: noon})
	if !bytes.Equal(first, second) {
		t.Error("one selection made two files")
	}
	if size, err := p.Size(); err != nil || size != int64(len(first)) {
		t.Errorf("announced %d bytes, wrote %d (%v)", size, len(first), err)
	}
	found, err := Verify(bytes.NewReader(first))
	if err != nil {
		t.Fatal(err)
	}
	if found.SHA256 != digestOf(first) {
		t.Error("the hash of the package is another")
	}
	if diff := cmp.Diff(p, found.Package); diff != "" {
		t.Errorf("read back: %s", diff)
	}
}

func TestEveryFlippedByteIsFound(t *testing.T) {
	box := &mailbox{folders: map[string][]stored{}}
	box.add("INBOX", daysAgo(3), []byte("Subject: a\r\n\r\nuno\r\n"), `\Seen`)
	box.add("Società", daysAgo(2), []byte("Subject: b\r\n\r\ndue\r\n"))
	_, whole := packed(t, box, Rule{Before: noon})
	for i := range whole {
		whole[i] ^= 1
		if _, err := Verify(bytes.NewReader(whole)); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("byte %d of %d flipped: %v", i, len(whole), err)
		}
		whole[i] ^= 1
	}
	for name, bad := range map[string][]byte{
		"cut short": whole[:len(whole)-512], "cut in a message": whole[:len(whole)-1024-512-2], "empty": nil,
		"longer": append(bytes.Clone(whole), 0), "not a package": []byte(strings.Repeat("x", 2048)),
	} {
		if _, err := Verify(bytes.NewReader(bad)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAPackageThatCannotBeReadIsNotCalledDamaged(t *testing.T) {
	_, whole := packed(t, newMailbox(t, 6), Rule{Before: noon})
	gone := errors.New("the line went down")
	for _, at := range []int{0, 100, 700, len(whole) / 2, len(whole)} {
		_, err := Verify(io.MultiReader(bytes.NewReader(whole[:at]), iotest.ErrReader(gone)))
		if !errors.Is(err, gone) || errors.Is(err, ErrCorrupt) {
			t.Errorf("after %d of %d bytes: %v", at, len(whole), err)
		}
	}
}

func TestAMessageThatChangedIsNotPacked(t *testing.T) {
	box := newMailbox(t, 6)
	p := NewPackage("ufficio@pec.test", noon, Select(box.described(t), Rule{Before: noon}))
	for name, change := range map[string]func([]byte) []byte{
		"a byte":  func(b []byte) []byte { c := bytes.Clone(b); c[len(c)-3] ^= 1; return c },
		"shorter": func(b []byte) []byte { return b[:len(b)-1] },
		"longer":  func(b []byte) []byte { return append(bytes.Clone(b), 'x') },
	} {
		open := func(m Message) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(change(box.bytesOf(m)))), nil
		}
		if err := p.Write(io.Discard, open); !errors.Is(err, errChanged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The archivists' index is read back here by a reader that shares nothing with its writer but the names of UNI 11386.
func TestPIndexListsEveryFileWithItsHash(t *testing.T) {
	box := newMailbox(t, 30)
	p, _ := packed(t, box, Rule{Before: noon})
	p.Messages[0].Folder = "a<b>&\"c\"\x01"
	raw, err := p.pindex()
	if err != nil {
		t.Fatal(err)
	}
	var index struct {
		XMLName xml.Name
		Groups  []struct {
			Files []struct {
				Path string
				Hash struct {
					Function string `xml:"hashFunction,attr"`
					Value    string `xml:",chardata"`
				}
			} `xml:"File"`
		} `xml:"FileGroup"`
	}
	if err := xml.Unmarshal(raw, &index); err != nil {
		t.Fatalf("%v\n%s", err, raw)
	}
	if index.XMLName != (xml.Name{Space: "http://www.uni.com/U3011/sincro-v2/", Local: "PIndex"}) {
		t.Errorf("the document is a %v", index.XMLName)
	}
	got := map[string]string{}
	kin := 0
	for _, g := range index.Groups {
		kin = max(kin, len(g.Files))
		for _, f := range g.Files {
			got[f.Path] = f.Hash.Function + " " + f.Hash.Value
		}
	}
	want := map[string]string{}
	for _, m := range p.Messages {
		want[m.File] = "SHA-256 " + m.SHA256
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if kin < 3 {
		t.Errorf("no group holds a message and its receipts; the largest has %d files", kin)
	}
}
