package postfixconf

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Kind is how clients reach a service.
type Kind string

// The kinds of master.cf that are used here.
const (
	Inet         Kind = "inet"
	Unix         Kind = "unix"
	UnixDatagram Kind = "unix-dgram"
)

// Service is one entry of master.cf. No service is chrooted: a chroot needs copies of files that nobody would keep up to date.
type Service struct {
	Name         string // name, port, or host:port
	Kind         Kind
	Public       bool   // the socket is open to other users of the machine (never for Inet)
	Privileged   bool   // runs as root, not as the mail owner
	Wakeup       string // seconds, "?" appended to wake only a service that is in use; "" for never
	ProcessLimit string // a number, 0 for none; "" for default_process_limit
	Command      string
	Overrides    []Parameter // main.cf parameters that differ for this service
}

var (
	serviceName  = regexp.MustCompile(`^[a-z0-9][a-z0-9.:-]{0,63}$`)
	commandName  = regexp.MustCompile(`^[a-z][a-z-]{0,31}$`)
	wakeupTime   = regexp.MustCompile(`^([0-9]{1,6}\??)?$`)
	processLimit = regexp.MustCompile(`^[0-9]{0,6}$`)
)

func (s Service) check() error {
	fields := []struct {
		text string
		form *regexp.Regexp
	}{{s.Name, serviceName}, {s.Command, commandName}, {s.Wakeup, wakeupTime}, {s.ProcessLimit, processLimit}}
	for _, f := range fields {
		if !f.form.MatchString(f.text) {
			return fmt.Errorf("service %q has a field that is not of its form: %q", s.Name, f.text)
		}
	}
	if !slices.Contains([]Kind{Inet, Unix, UnixDatagram}, s.Kind) {
		return fmt.Errorf("service %q has the unknown kind %q", s.Name, s.Kind)
	}
	for _, o := range s.Overrides {
		if err := o.check(); err != nil {
			return fmt.Errorf("service %q: %w", s.Name, err)
		}
	}
	return nil
}

// RenderMaster writes master.cf in the order given.
func RenderMaster(services []Service) (string, error) {
	var b strings.Builder
	seen := map[string]bool{}
	for _, s := range services {
		if err := s.check(); err != nil {
			return "", fmt.Errorf("writing master.cf: %w", err)
		}
		key := s.Name + "/" + string(s.Kind)
		if seen[key] {
			return "", fmt.Errorf("writing master.cf: %s is given twice", key)
		}
		seen[key] = true
		fmt.Fprintln(&b, strings.Join(s.fields(), " "))
		for _, o := range s.Overrides {
			fmt.Fprintf(&b, "  -o { %s }\n", o.assignment())
		}
	}
	return b.String(), checkMaster(b.String(), services)
}

// assignment is the parameter with its value. Braces around it, in master.cf, let it hold white space.
func (p Parameter) assignment() string { return strings.TrimSpace(p.Name + " = " + p.Value.text) }

func (s Service) fields() []string {
	flag := func(b bool) string {
		if b {
			return "y"
		}
		return "n"
	}
	or := func(s string) string {
		if s == "" {
			return "-"
		}
		return s
	}
	return []string{s.Name, string(s.Kind), flag(!s.Public && s.Kind != Inet), flag(!s.Privileged), "n", or(s.Wakeup), or(s.ProcessLimit), s.Command}
}

// checkMaster reads the file as Postfix would: an entry begins at the first column, and goes on in the indented lines below.
func checkMaster(text string, services []Service) error {
	var want, got []string
	for _, s := range services {
		entry := strings.Join(s.fields(), " ")
		for _, o := range s.Overrides {
			entry += " -o { " + o.assignment() + " }"
		}
		want = append(want, entry)
	}
	for line := range strings.Lines(text) {
		words := strings.Join(strings.Fields(line), " ")
		if strings.HasPrefix(line, " ") && len(got) > 0 {
			got[len(got)-1] += " " + words
			continue
		}
		got = append(got, words)
	}
	if !slices.Equal(got, want) {
		return fmt.Errorf("writing master.cf: it does not read back as it was meant")
	}
	return nil
}
