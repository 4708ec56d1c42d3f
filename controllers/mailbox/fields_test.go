package mailbox

import (
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/contract"
	"github.com/pec-operator/pec-operator/internal/directory"
	"github.com/pec-operator/pec-operator/internal/hostile"
	"github.com/pec-operator/pec-operator/internal/sieve"
)

const (
	ownDomain = "pec.comune.test"
	aHash     = "{BLF-CRYPT}$2y$12$abcdefghijklmnopqrstuu5s7vVbDTDFeJRX5.GkCGyY/y6vyDSMm"
)

func wholeMailbox() *v1alpha1.Mailbox {
	return &v1alpha1.Mailbox{
		ObjectMeta: metav1.ObjectMeta{Namespace: "comune", Name: "ufficio.at." + ownDomain, UID: "u"},
		Spec: v1alpha1.MailboxSpec{
			DomainRef: v1alpha1.LocalReference{Name: ownDomain}, LocalPart: "ufficio", Quota: ptr.To(resource.MustParse("1Gi")), Access: v1alpha1.AccessFull,
			OrdinaryMail:  &v1alpha1.OrdinaryMail{Policy: v1alpha1.OrdinaryMailForward, ForwardTo: "a@b.test"},
			Notifications: &v1alpha1.Notifications{Addresses: []v1alpha1.EmailAddress{"a@b.test"}, Frequency: v1alpha1.NotifyDaily},
			Rules:         []v1alpha1.InboundRule{{Name: "clienti", Header: "From", Contains: "rossi@", Folder: "Clienti"}},
		},
	}
}

// Whatever any text of a Mailbox is, beyond what the API server admits, the directory holds one row that says what was meant, and
// the rules are a script of that many rules; or it is refused.
func FuzzTextsOfAMailbox(f *testing.F) {
	for _, value := range hostile.Values {
		f.Add(value)
	}
	neighbour := admin.Mailbox{Address: "vicino@" + ownDomain, Domain: ownDomain, Password: aHash, CredentialsVersion: "1", QuotaBytes: 1, Access: admin.AccessFull, OrdinaryMail: admin.OrdinaryDiscard}
	d, err := directory.Open(f.Context(), f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = d.Close() })
	_, putErr := d.PutMailbox(f.Context(), neighbour)
	if err := d.PutDomain(f.Context(), admin.Domain{Name: ownDomain}); err != nil || putErr == nil {
		f.Fatal("a row without its domain was taken", err)
	}
	if _, err := d.PutMailbox(f.Context(), neighbour); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, value string) {
		m := wholeMailbox()
		hostile.Texts(reflect.ValueOf(&m.Spec).Elem(), "spec", func(path string, text reflect.Value) {
			was := text.String()
			text.SetString(value)
			holdsWhatWasMeant(t, d, path, m, neighbour)
			text.SetString(was)
		})
	})
}

// holdsWhatWasMeant places a mailbox and looks for anything else in the directory than it and its neighbour; then it closes it, so
// that the next one begins anew.
func holdsWhatWasMeant(t *testing.T, d *directory.Directory, path string, m *v1alpha1.Mailbox, neighbour admin.Mailbox) {
	t.Helper()
	domain := &v1alpha1.PECDomain{ObjectMeta: metav1.ObjectMeta{Name: m.Spec.DomainRef.Name}}
	s := &scope{mailbox: m, domain: domain, granted: contract.Holding{Type: contract.Type(m.Spec.Type), Bytes: 1 << 30}}
	s.access = effective(m, nil, false)
	row, g := s.wantedRow(), given(m, domain)
	row.Password, row.CredentialsVersion = aHash, "u/"+m.Spec.Credentials.SecretRef.Name+"@1#"+m.Spec.Credentials.SecretRef.KeyOrDefault()
	if script, err := sieve.Render(g.Rules); err == nil && strings.Count(script, "\n") != 1+len(g.Rules) {
		t.Errorf("%s: %d rules became %q", path, len(g.Rules), script)
	}
	outcomes, err := d.Place(t.Context(), []admin.Place{{Address: row.Address, Mailbox: &row, Given: &g}})
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	all, err := d.Entries(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	row.Address, row.Domain = strings.ToLower(row.Address), strings.ToLower(row.Domain)
	want := []directory.Entry{{Mailbox: neighbour}}
	if outcomes[0].Err == nil {
		want = append(want, directory.Entry{Mailbox: row, Given: g})
	}
	got := all[:0]
	for _, held := range all {
		if held.Access != admin.AccessClosed {
			got = append(got, held)
		}
	}
	byAddress := cmpopts.SortSlices(func(a, b directory.Entry) int { return strings.Compare(a.Address, b.Address) })
	if diff := cmp.Diff(want, got, byAddress); diff != "" {
		t.Errorf("%s (-meant +held):\n%s", path, diff)
	}
	if outcomes[0].Err == nil {
		row.Access = admin.AccessClosed
		if _, err := d.PutMailbox(t.Context(), row); err != nil {
			t.Fatal(err)
		}
	}
}
