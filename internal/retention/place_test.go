package retention

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// places are a directory and a bucket of an S3 server in this process.
func places(t *testing.T) map[string]Place {
	t.Helper()
	return map[string]Place{"directory": Directory(t.TempDir()), "bucket": bucket(t)}
}

func bucket(t *testing.T) Place {
	t.Helper()
	backend := s3mem.New()
	server := httptest.NewUnstartedServer(gofakes3.New(backend).Server())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	if err := backend.CreateBucket("pec-archivio"); err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	s := S3{Endpoint: server.URL, Bucket: "pec-archivio", Prefix: "comune", Region: "us-east-1"}
	b, err := OpenBucket(context.Background(), s, Keys{ID: "id", Secret: "secret"}, roots)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestNoPrintShowsTheKeys(t *testing.T) {
	keys := Keys{ID: "id", Secret: "canary-s3-secret"}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(verb, keys); strings.Contains(text, keys.Secret) {
			t.Errorf("%s prints %s", verb, text)
		}
	}
}

func TestAPlaceTakesANameOnceAndWholeOrNotAtAll(t *testing.T) {
	for kind, p := range places(t) {
		t.Run(kind, func(t *testing.T) { checkPlace(t, p) })
	}
}

func checkPlace(t *testing.T, p Place) {
	t.Helper()
	ctx := t.Context()
	put := func(name, text string, announced int64, fault error) error {
		return p.Create(ctx, name, announced, func(w io.Writer) error {
			_, err := io.WriteString(w, text)
			return errors.Join(err, fault)
		})
	}
	if err := put("a/one", "first", 5, nil); err != nil {
		t.Fatal(err)
	}
	if err := put("a/one", "other", 5, nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second time: %v", err)
	}
	if err := put("a/two", "half", 4, io.ErrUnexpectedEOF); err == nil {
		t.Error("a writer that failed left something")
	}
	if err := put("a/three", "short", 6, nil); err == nil {
		t.Error("less than announced was taken")
	}
	large := strings.Repeat("0123456789abcdef", partSize/16+1) // more than one part
	if err := put("a/large", large, int64(len(large)), nil); err != nil {
		t.Fatal(err)
	}
	if err := put("a/large", large, int64(len(large)), nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a large one a second time: %v", err)
	}
	names, err := p.List(ctx, "a")
	if got := strings.Join(names, " "); got != "a/large a/one" || err != nil {
		t.Errorf("listed %q, %v", got, err)
	}
	r, err := p.Open(ctx, "a/one")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close() //nolint:errcheck // it was only read
	if raw, err := io.ReadAll(r); string(raw) != "first" || err != nil {
		t.Errorf("read %q, %v", raw, err)
	}
	if _, err := p.Open(ctx, "a/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what is not there: %v", err)
	}
	if names, err := p.List(ctx, "b"); len(names) != 0 || err != nil {
		t.Errorf("an empty folder: %q, %v", names, err)
	}
}

func TestFolderOf(t *testing.T) {
	for address, want := range map[string]string{
		"a.b@pec.test": "pec.test/a.b", "a@b": "b/a", "": "", "a": "", "@b": "", "a@": "", "../x@b": "", "a@../b": "", "a/b@c": "", "a@b/c": "",
	} {
		if got, err := folderOf(address); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", address, got, err)
		}
	}
}
