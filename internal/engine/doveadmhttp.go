package engine

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/pec-operator/pec-operator/internal/admin"
)

// doveadmHTTP calls Dovecot's HTTP API, which listens on loopback only.
type doveadmHTTP struct {
	url  string
	key  func() (string, error) // doveadm_api_key, as reloading.Get answers it
	http *http.Client
}

func newDoveadmHTTP(base string, key func() (string, error)) *doveadmHTTP {
	// A connection that is kept occupies a process of Dovecot's, and may be closed there just as the next command goes out on it.
	client := &http.Client{Timeout: 5 * time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	return &doveadmHTTP{url: strings.TrimSuffix(base, "/") + "/doveadm/v1", key: key, http: client}
}

// call runs one command. The API answers 200 to almost everything; whether it worked is in the answer's first element.
func (d *doveadmHTTP) call(ctx context.Context, command string, parameters map[string]any, result any) error {
	key, err := d.key()
	if key == "" {
		return fmt.Errorf("asking Dovecot to %s: %w", command, err)
	}
	body, err := json.Marshal([]any{[]any{command, parameters, "1"}})
	if err != nil {
		return fmt.Errorf("asking Dovecot to %s: %w", command, err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, d.url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("asking Dovecot to %s: %w", command, err)
	}
	request.Header.Set("Authorization", "X-Dovecot-API "+base64.StdEncoding.EncodeToString([]byte(key)))
	request.Header.Set("Content-Type", "application/json")
	response, err := d.http.Do(request)
	if err != nil {
		return fmt.Errorf("asking Dovecot to %s: %w", command, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("asking Dovecot to %s: it answered %s", command, response.Status)
	}
	return readAnswer(command, response.Body, result)
}

// exitCodes are those of doveadm that say what to do.
var exitCodes = map[int]string{
	2:  "the mailbox changed meanwhile, it has to run again",
	67: "no such mailbox",
	75: "not possible now; Dovecot's log says why",
}

func readAnswer(command string, body io.Reader, result any) error {
	var answers [][]json.RawMessage
	if err := json.NewDecoder(body).Decode(&answers); err != nil {
		return fmt.Errorf("reading Dovecot's answer to %s: %w", command, err)
	}
	if len(answers) != 1 || len(answers[0]) != 3 {
		return fmt.Errorf("reading Dovecot's answer to %s: not one answer", command)
	}
	if string(answers[0][0]) != `"doveadmResponse"` {
		var failure struct {
			Type     string `json:"type"`
			ExitCode int    `json:"exitCode"`
		}
		_ = json.Unmarshal(answers[0][1], &failure) // what cannot be read stays zero, and is said as it is
		return fmt.Errorf("asking Dovecot to %s: %s %d: %s", command, failure.Type, failure.ExitCode, exitCodes[failure.ExitCode])
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(answers[0][1], result); err != nil {
		return fmt.Errorf("reading Dovecot's answer to %s: %w", command, err)
	}
	return nil
}

// has says whether a mailbox holds, in any folder, the message that was delivered under key.
func (d *doveadmHTTP) has(user, key string) (bool, error) {
	var found []json.RawMessage
	err := d.call(context.Background(), "search", map[string]any{"user": user, "query": []string{"mailbox", "*", "header", "received", key}}, &found)
	return len(found) > 0, err
}

// kick ends a user's open sessions: they keep the access and the quota of their login.
func (d *doveadmHTTP) kick(ctx context.Context, user string) error {
	return d.call(ctx, "kick", map[string]any{"mask": []string{user}}, nil)
}

// deactivate leaves none of the user's Sieve scripts active; the scripts stay.
func (d *doveadmHTTP) deactivate(ctx context.Context, user string) error {
	return d.call(ctx, "sieveDeactivate", map[string]any{"user": user}, nil)
}

// sync merges a mailbox with the other site's through destination. The full form is the one that merges after a partition.
func (d *doveadmHTTP) sync(ctx context.Context, user, destination string) error {
	return d.call(ctx, "sync", map[string]any{"user": user, "fullSync": true, "lockTimeout": syncLockSeconds, "destination": []string{"tcp:" + destination}}, nil)
}

// syncLockSeconds is how long a sync waits for another one of the same mailbox, the other site's among them.
const syncLockSeconds = 30

// usage is what a mailbox holds as its quota counts it: without what the holder deleted and the stack keeps.
func (d *doveadmHTTP) usage(ctx context.Context, user string) (admin.Usage, error) {
	var roots []struct{ Type, Value string }
	if err := d.call(ctx, "quotaGet", map[string]any{"user": user}, &roots); err != nil {
		return admin.Usage{}, err
	}
	counted := map[string]int64{}
	for _, root := range roots {
		n, err := strconv.ParseInt(root.Value, 10, 64)
		if err != nil {
			return admin.Usage{}, fmt.Errorf("reading the quota of %s: %s is %q", user, root.Type, root.Value)
		}
		counted[root.Type] = n
	}
	kibibytes, known := counted["STORAGE"]
	if !known {
		return admin.Usage{}, fmt.Errorf("reading the quota of %s: Dovecot does not say how much it holds", user)
	}
	return admin.Usage{Bytes: kibibytes << 10, Messages: counted["MESSAGE"]}, nil
}
