package imapx

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/pec-operator/pec-operator/internal/reach"
)

// Somebody listens, and does not see a knock: neither at the address, nor behind a name of it.
func TestNobodyInsideIsKnockedAt(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for _, host := range []string{"127.0.0.1", "localhost"} {
		_, err := Take(t.Context(), Options{Address: net.JoinHostPort(host, port), User: "mario"}, time.Now())
		if !errors.Is(err, reach.ErrInside) || Why(err) != reach.ErrInside.Error() {
			t.Errorf("%s: %v", host, err)
		}
	}
	if err := l.(*net.TCPListener).SetDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if conn, err := l.Accept(); err == nil {
		t.Errorf("%s knocked", conn.RemoteAddr())
	}
}
