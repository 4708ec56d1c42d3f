package engine

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/pec-operator/pec-operator/internal/evidence"
	"github.com/pec-operator/pec-operator/internal/store"
)

// A manifest proves what was copied: it is a record of the log and lies in custody, once, and a journal does neither.
func TestAManifestIsEvidence(t *testing.T) {
	w := givenWorld(t)
	keep := func(name, content string) error {
		r := httptest.NewRequest(http.MethodPut, "/?name="+url.QueryEscape(name), strings.NewReader(content))
		_, err := w.engine.keepJobRecord(httptest.NewRecorder(), storeRequest{r, sender})
		return err
	}
	const manifest = `{"folder":"INBOX"}` + "\n"
	for range 2 { // a pod that lost the answer asks again
		for name, content := range map[string]string{"manifest-comune.trasloco-0123456789abcdef": manifest, "journal-comune.trasloco": "{}"} {
			if err := keep(name, content); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := keep("manifest-comune.trasloco-0123456789abcdef", "another"); err == nil {
		t.Error("another manifest replaced the first")
	}
	var proofs []manifestRecord
	w.records(kindManifest, func(r evidence.Record) {
		var proof manifestRecord
		if err := r.Decode(&proof); err != nil {
			t.Fatal(err)
		}
		proofs = append(proofs, proof)
	})
	if len(proofs) != 1 || proofs[0].Mailbox != sender || proofs[0].Digest != store.Digest([]byte(manifest)) {
		t.Fatalf("the log has %+v", proofs)
	}
	if raw, err := w.engine.custody.Get(proofs[0].Digest); err != nil || string(raw) != manifest {
		t.Errorf("in custody is %q, %v", raw, err)
	}
}
