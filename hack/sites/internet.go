package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// configureInternet writes the name server's files; zones that were given before are kept.
func (i instance) configureInternet(n network) error {
	values := map[string]string{"Internet": n.internet().String()}
	for path, template := range map[string]string{"bind/named.conf": "named.conf", "bind/root.zone": "root.zone", "config/resolv.conf": "resolv.conf"} {
		if err := writeFile(i.dir(internet, "lib", path), []byte(mustRender(template, values)), 0o644); err != nil {
			return err
		}
	}
	return i.writeZoneList()
}

// writeZoneList names every zone file to the server.
func (i instance) writeZoneList() error {
	files, err := filepath.Glob(i.dir(internet, "lib", "bind", "zones", "*.zone"))
	if err != nil {
		return err
	}
	var list strings.Builder
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".zone")
		if _, err := os.Stat(statements(file)); err == nil {
			fmt.Fprintf(&list, "include %q;\n", "/var/lib/bind/zones/"+name+".named")
			continue
		}
		fmt.Fprintf(&list, "zone %q { type primary; file %q; };\n", name, "/var/lib/bind/zones/"+name+".zone")
	}
	return writeFile(i.dir(internet, "lib", "bind", "zones.conf"), []byte(list.String()), 0o644)
}

// serveInternet runs the name server of the instance's internet.
func serveInternet(ctx context.Context) error {
	if err := os.MkdirAll("/run/named", 0o755); err != nil {
		return err
	}
	keep(ctx, process{name: "named", argv: []string{"named", "-g", "-4", "-c", "/var/lib/bind/named.conf"}}, logDir)
	return ctx.Err()
}

var zoneName = regexp.MustCompile(`^[a-z0-9-]+(\.[a-z0-9-]+)*$`)

// statements is the file beside a zone's own that holds the server's statements about it, for a zone that takes updates: its keys, and
// the zone itself with file /var/lib/bind/zones/<zone>.zone.
func statements(file string) string { return strings.TrimSuffix(file, ".zone") + ".named" }

// publish makes the name server answer from the given zone files: each is named <zone>.zone. It returns when the new serials answer. What
// a zone that takes updates holds is the server's own from its first publication on.
func (i instance) publish(ctx context.Context, files []string) error {
	var r record
	if err := readJSON(i.recordFile(), &r); err != nil {
		return fmt.Errorf("instance %s does not run (start it with \"up\"): %w", i.name, err)
	}
	serials := map[string]uint32{}
	for _, file := range files {
		zone, found := strings.CutSuffix(filepath.Base(file), ".zone")
		if !found || !zoneName.MatchString(zone) {
			return fmt.Errorf("publishing %s: a zone file is named after its zone, as example.test.zone", file)
		}
		serial, err := checkZone(ctx, zone, file)
		if err != nil {
			return err
		}
		if dynamic, err := i.installDynamic(ctx, r, zone, file, serial); dynamic || err != nil {
			if err != nil {
				return err
			}
			continue
		}
		if err := i.installZone(ctx, r, zone, file, serial); err != nil {
			return err
		}
		serials[zone] = serial
	}
	if err := i.writeZoneList(); err != nil {
		return err
	}
	if err := i.reloadNames(ctx); err != nil {
		return err
	}
	for zone, serial := range serials {
		if err := waitFor(ctx, "zone "+zone, 10*time.Second, serves(r.network().internet(), zone, serial)); err != nil {
			return err
		}
	}
	return nil
}

var loadedSerial = regexp.MustCompile(`loaded serial (\d+)`)

// checkZone lets BIND's own checker judge the file before the server sees it, and returns the serial.
func checkZone(ctx context.Context, zone, file string) (uint32, error) {
	text, err := run(ctx, "named-checkzone", zone, file)
	if err != nil {
		return 0, fmt.Errorf("checking zone %s: %w: %s", zone, err, strings.TrimSpace(text))
	}
	match := loadedSerial.FindStringSubmatch(text)
	if match == nil {
		return 0, fmt.Errorf("checking zone %s: named-checkzone names no serial: %s", zone, text)
	}
	serial, err := strconv.ParseUint(match[1], 10, 32)
	return uint32(serial), err
}

// installZone puts the file in place. A changed file with the serial that is served already is refused: nobody could tell which of the
// two answers.
func (i instance) installZone(ctx context.Context, r record, zone, file string, serial uint32) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	target := i.dir(internet, "lib", "bind", "zones", zone+".zone")
	previous, err := os.ReadFile(target)
	if err == nil && !slices.Equal(previous, content) && serves(r.network().internet(), zone, serial)(ctx) == nil {
		return fmt.Errorf("publishing %s: the zone has changed but its serial is still %d: raise it", file, serial)
	}
	return writeFile(target, content, 0o644)
}

// installDynamic publishes a zone that takes updates, once: afterwards only updates change it. It answers false for any other zone.
func (i instance) installDynamic(ctx context.Context, r record, zone, file string, serial uint32) (bool, error) {
	text, err := os.ReadFile(statements(file))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	target := i.dir(internet, "lib", "bind", "zones", zone+".zone")
	if _, err := os.Stat(target); err == nil {
		return true, nil
	}
	if err := i.installZone(ctx, r, zone, file, serial); err != nil {
		return false, err
	}
	if err := writeFile(statements(target), text, 0o600); err != nil {
		return false, err
	}
	if err := i.writeZoneList(); err != nil {
		return false, err
	}
	if err := i.reloadNames(ctx); err != nil {
		return false, err
	}
	return true, waitFor(ctx, "zone "+zone, 10*time.Second, serves(r.network().internet(), zone, serial))
}

// reloadNames tells the server to read its configuration and the changed zones again.
func (i instance) reloadNames(ctx context.Context) error {
	command, err := i.enter(internet, "sh", "-c", "kill -HUP $(cat /run/named/named.pid)")
	if err != nil {
		return err
	}
	_, err = run(ctx, command...)
	return err
}

// serves checks that the server answers for the zone with the serial.
func serves(server netip.Addr, zone string, serial uint32) func(context.Context) error {
	return func(ctx context.Context) error {
		found, err := askSerial(ctx, server, zone)
		if err != nil {
			return err
		}
		if found != serial {
			return fmt.Errorf("the server answers for %s with serial %d, not %d", zone, found, serial)
		}
		return nil
	}
}

// askSerial asks for the zone's SOA record; zone is without its final dot, "" is the root.
func askSerial(ctx context.Context, server netip.Addr, zone string) (uint32, error) {
	name, err := dnsmessage.NewName(zone + ".")
	if err != nil {
		return 0, fmt.Errorf("asking for zone %s: %w", zone, err)
	}
	query := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: uint16(time.Now().UnixNano())},
		Questions: []dnsmessage.Question{{Name: name, Type: dnsmessage.TypeSOA, Class: dnsmessage.ClassINET}},
	}
	packed, err := query.Pack()
	if err != nil {
		return 0, err
	}
	connection, err := (&net.Dialer{}).DialContext(ctx, "udp", netip.AddrPortFrom(server, 53).String())
	if err != nil {
		return 0, err
	}
	defer connection.Close()
	_ = connection.SetDeadline(time.Now().Add(time.Second))
	if _, err := connection.Write(packed); err != nil {
		return 0, err
	}
	buffer := make([]byte, 1500)
	size, err := connection.Read(buffer)
	if err != nil {
		return 0, err
	}
	var answer dnsmessage.Message
	if err := answer.Unpack(buffer[:size]); err != nil {
		return 0, err
	}
	for _, resource := range answer.Answers {
		if soa, ok := resource.Body.(*dnsmessage.SOAResource); ok && answer.ID == query.ID {
			return soa.Serial, nil
		}
	}
	return 0, fmt.Errorf("the server knows no zone %s (%s)", zone, answer.RCode)
}
