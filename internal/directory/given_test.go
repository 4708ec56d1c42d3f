package directory

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pec-operator/pec-operator/internal/admin"
)

func TestGivenIsKeptBesideTheRow(t *testing.T) {
	d := opened(t)
	h := admin.Given{
		MayChange: []admin.Choice{admin.ChoicePassword}, Notifications: admin.Notifications{Addresses: []string{"x@ordinaria.test"}},
		Rules: []admin.Rule{{Name: "a", Header: "From", Contains: `'"; DROP TABLE mailbox; --`, Folder: "F"}}, MessagesPerDay: 7,
	}
	give := func(address string) error {
		outcomes, err := d.Place(t.Context(), []admin.Place{{Address: address, Given: &h}})
		return errors.Join(err, outcomes[0].Err)
	}
	if err := give(row().Address); !errors.Is(err, admin.ErrNotFound) {
		t.Fatalf("a mailbox that is not there: %v", err)
	}
	if _, err := d.PutMailbox(t.Context(), row()); err != nil {
		t.Fatal(err)
	}
	if got, err := d.Given(t.Context(), row().Address); err != nil || !got.Same(admin.Given{}) {
		t.Fatalf("before any was put: %+v, %v", got, err)
	}
	if err := give("UFFICIO@pec.example.it"); err != nil {
		t.Fatal(err)
	}
	if _, err := d.PutMailbox(t.Context(), row()); err != nil {
		t.Fatal(err)
	}
	got, err := d.Given(t.Context(), row().Address)
	if diff := cmp.Diff(h, got); diff != "" || err != nil {
		t.Errorf("after the row was put again: %v (-want +got):\n%s", err, diff)
	}
}

func TestPasswordOfTheHolderStandsUntilTheNextSecret(t *testing.T) {
	d := opened(t)
	if _, err := d.PutMailbox(t.Context(), row()); err != nil {
		t.Fatal(err)
	}
	const chosen = "{BLF-CRYPT}$2y$12$another"
	if err := d.SetPassword(t.Context(), row().Address, chosen); err != nil {
		t.Fatal(err)
	}
	same := row()
	same.Password = ""
	for _, step := range []struct {
		put         admin.Mailbox
		wantHash    string
		wantChanged bool
	}{{same, chosen, true}, {row(), hash, false}} {
		if _, err := d.PutMailbox(t.Context(), step.put); err != nil {
			t.Fatal(err)
		}
		got, err := d.Password(t.Context(), row().Address)
		m, mErr := d.Mailbox(t.Context(), row().Address)
		if got != step.wantHash || m.PasswordChangedByHolder != step.wantChanged || errors.Join(err, mErr) != nil {
			t.Errorf("the password is %s, changed %v, %v, want %s, %v", got, m.PasswordChangedByHolder, errors.Join(err, mErr), step.wantHash, step.wantChanged)
		}
	}
	if err := d.SetPassword(t.Context(), row().Address, "in chiaro"); !errors.Is(err, ErrInvalid) {
		t.Errorf("a password in the clear: %v", err)
	}
}
