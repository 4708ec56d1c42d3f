package stack

import (
	"fmt"
	"time"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/settings"
	pf "github.com/pec-operator/pec-operator/internal/stack/postfixconf"
)

// Transports of our own, so that their limits are theirs alone.
const (
	transportAccess   = "pec-access"
	transportIncoming = "pec-incoming"
)

// Postfix queues on its own clock: a message waits this long for an engine that restarts.
const (
	queueRun      = 30 * time.Second
	minBackoff    = 60 * time.Second
	maxBackoff    = 10 * time.Minute // Postfix' 4000 s would leave mail lying for an hour after an engine came back
	queueLifetime = 24 * time.Hour   // after which the notices of the law have been given anyway
	// filterReply is how long the engine may take to certify one message; a shorter one makes Postfix send it again.
	filterReply = 20 * time.Minute
)

// headerLimit is the greatest header field in bytes; what exceeds it is cut off without a word. Postfix cannot do more where a
// milter listens; saying so makes all ports alike. The engine's milter knows a field of this length: what was cut is not
// certified.
const headerLimit = 60_000

// postfixFiles are main.cf, master.cf and the tables. The host is what Postfix greets with.
func postfixFiles(host string, l settings.Limits) (map[string]string, error) {
	out := map[string]string{}
	var err error
	if out[fileMain], err = pf.RenderMain(mainParameters(host, l)); err != nil {
		return nil, err
	}
	if out[fileMaster], err = pf.RenderMaster(masterServices(l)); err != nil {
		return nil, err
	}
	for name, query := range map[string]string{
		fileDomains:   "SELECT name FROM domain WHERE name = lower('%s') AND local",
		fileElsewhere: elsewhereQuery,
		fileMailboxes: "SELECT address FROM mailbox WHERE address = lower('%s')",
		filePolicy:    "SELECT 'encrypt' FROM certified_domain WHERE name = lower('%s')",
		fileSenders:   "SELECT address FROM mailbox WHERE address = lower('%s') AND access = 'Full'",
		fileRefusals:  refusalQuery,
	} {
		if out[name], err = pf.RenderTable(pf.Table{Path: directoryDB, Query: query}); err != nil {
			return nil, fmt.Errorf("table %s: %w", name, err)
		}
	}
	out[fileLoops] = loopFilter
	return out, nil
}

// answerNotLocal is the answer to what comes in for a domain that the directory holds and that is not local. Around a change of provider the MX
// may name this stack before its operator has seen that, and caches name it after it does not: both senders find the right server when they
// try again. The table has it for whole addresses only: a key of Postfix that is a domain alone may be a parent of another's.
const answerNotLocal = "450 4.4.4 mail for this domain is not delivered here now, please try again; la posta di questo dominio per ora non si consegna qui"

// answerUnknownDomain is the answer to what comes in for a domain that a new directory does not hold: it may be that of a guest, which comes
// there by a pass of its own or with the other site's log. "Relay access denied" would be the last word to a sender whose MX set has the other site too.
const answerUnknownDomain = "450 4.3.2 this server was set up anew and does not know all its domains yet, please try again; questo server non conosce ancora tutti i suoi domini"

// elsewhereQuery has one answer at most: Postfix would join two.
const elsewhereQuery = "SELECT '" + answerNotLocal + "' FROM domain WHERE name = lower('%d') AND NOT local" +
	" UNION ALL SELECT '" + answerUnknownDomain + "' WHERE NOT EXISTS (SELECT 1 FROM whole) AND NOT EXISTS (SELECT 1 FROM domain WHERE name = lower('%d'))"

// loopFilter is read for the outcome of every delivery to another server. That the MX of a domain that is not local names this stack is no
// failure of the message: either it will be local in a moment, or somebody mends the MX.
const loopFilter = "/^5(\\.4\\.6 .*loops back to myself.*)/ 4$1\n"

// refusalQuery answers what to tell a login that may not send. That the holder changed his first password is known to the engine before
// it is to the operator, who may be away.
const refusalQuery = "SELECT CASE WHEN NOT local THEN '" + admin.AnswerElsewhere + "' WHEN sending_refused = 'FirstLogin' THEN '" + admin.AnswerFirstLogin + "' ELSE '" + admin.AnswerMigration + "' END" +
	" FROM mailbox JOIN domain ON domain = name WHERE address = lower('%s')" +
	" AND (NOT local OR sending_refused = 'Migration' OR sending_refused = 'FirstLogin' AND NOT password_changed)"

func table(file string) string { return "sqlite:" + postfixDir + "/" + file }

func lmtpTo(transport string, port int) pf.Value {
	return pf.Word(transport + ":inet:" + loopback(port))
}

// acceptedSize is what the submission port takes: more than the domain's limit, because a message that is too large must reach
// the engine to be answered with a notice of non-acceptance (DM 2/11/2005, 6.3.2) instead of an SMTP error.
func acceptedSize(l settings.Limits) int64 { return l.MaxMessageSize + l.MaxMessageSize/4 + 1<<20 }

// carriedSize is what Postfix carries at all: an envelope or delivery receipt holds a whole original, in base64 if it must.
func carriedSize(l settings.Limits) int64 { return 2*l.MaxMessageSize + 1<<20 }

// acceptedRecipients is what one SMTP transaction may name; again more than the domain's limit. The engine's transports take one
// more than that, because a submission that Postfix splits would be several transactions for the engine.
func acceptedRecipients(l settings.Limits) int64 { return max(1000, 2*int64(l.MaxRecipients)) }

func mainParameters(host string, l settings.Limits) []pf.Parameter {
	var all []pf.Parameter
	for _, part := range [][]pf.Parameter{
		installation(host), queueing(l), untouched(), locality(), receiving(), sending(),
		engineTransport(transportAccess, l), engineTransport(transportIncoming, l),
	} {
		all = append(all, part...)
	}
	return all
}

func installation(host string) []pf.Parameter {
	return []pf.Parameter{
		{Name: "compatibility_level", Value: pf.Word("3.10")},
		{Name: "maillog_file", Value: pf.Word("/dev/stdout")},
		{Name: "meta_directory", Value: pf.Word("/etc/postfix")}, // of the image: dynamicmaps.cf makes sqlite known
		{Name: "queue_directory", Value: pf.Word(queueDir)},
		// Made by Postfix at start, hence its own; a prepared directory would belong to the kubelet.
		{Name: "data_directory", Value: pf.Word(postfixRun + "/data")},
		{Name: "myhostname", Value: pf.Word(host)},
		{Name: "inet_interfaces", Value: pf.Word("all")},
		{Name: "inet_protocols", Value: pf.Word("all")},
		{Name: "mynetworks", Value: pf.List("127.0.0.0/8", "[::1]/128")},
		{Name: "biff", Value: pf.Bool(false)},
	}
}

func queueing(l settings.Limits) []pf.Parameter {
	return []pf.Parameter{
		{Name: "enable_long_queue_ids", Value: pf.Bool(true)}, // short ones are used again; they are keys of the engine's journal
		{Name: "queue_run_delay", Value: pf.Period(queueRun)},
		{Name: "minimal_backoff_time", Value: pf.Period(minBackoff)},
		{Name: "maximal_backoff_time", Value: pf.Period(maxBackoff)},
		{Name: "maximal_queue_lifetime", Value: pf.Period(queueLifetime)},
		{Name: "bounce_queue_lifetime", Value: pf.Period(queueLifetime)},
		{Name: "delay_warning_time", Value: pf.Period(0)}, // the engine gives the notices of 12 and 24 hours
		// No mail to a postmaster: nobody would read it, and an undeliverable bounce is dropped instead of going round.
		{Name: "notify_classes", Value: pf.Empty()},
		{Name: "message_size_limit", Value: pf.Int(carriedSize(l))},
		{Name: "bounce_size_limit", Value: pf.Int(carriedSize(l))}, // the engine keeps a bounce with the whole message it is about
		{Name: "mailbox_size_limit", Value: pf.Int(0)},
		{Name: "smtpd_recipient_limit", Value: pf.Int(acceptedRecipients(l))},
	}
}

// untouched keeps every message byte for byte: what is signed, or will be, breaks if one of these changes it.
func untouched() []pf.Parameter {
	return []pf.Parameter{
		{Name: "always_add_missing_headers", Value: pf.Bool(false)},
		{Name: "local_header_rewrite_clients", Value: pf.Empty()},
		{Name: "message_drop_headers", Value: pf.Empty()},              // the default hides Bcc from the formal check
		{Name: "disable_mime_input_processing", Value: pf.Bool(true)},  // else a bad header inside a part gets a blank line before it
		{Name: "disable_mime_output_conversion", Value: pf.Bool(true)}, // else 8-bit text is re-encoded
		{Name: "header_size_limit", Value: pf.Int(headerLimit)},
		{Name: "smtp_line_length_limit", Value: pf.Int(0)}, // else lines are folded at 998
		{Name: "lmtp_line_length_limit", Value: pf.Int(0)},
		{Name: "smtpd_forbid_bare_newline", Value: pf.Word("normalize")},  //nolint:misspell // Postfix' word; against smuggling
		{Name: "smtpd_forbid_bare_newline_exclusions", Value: pf.Empty()}, // by default all that comes from this host
		{Name: "strict_smtputf8", Value: pf.Bool(true)},                   // an address of certified mail is ASCII
		{Name: "swap_bangpath", Value: pf.Bool(false)},
		{Name: "allow_percent_hack", Value: pf.Bool(false)},
		{Name: "recipient_delimiter", Value: pf.Empty()},
	}
}

// locality says whose mail stays here: that of the directory's local domains, and it goes to the engine, bounces included.
func locality() []pf.Parameter {
	return []pf.Parameter{
		{Name: "mydestination", Value: pf.Empty()},
		{Name: "local_recipient_maps", Value: pf.Empty()},
		{Name: "local_transport", Value: pf.Text("error:5.1.1 no local mailboxes")},
		{Name: "alias_maps", Value: pf.Empty()},
		{Name: "alias_database", Value: pf.Empty()},
		{Name: "relay_domains", Value: pf.Empty()},
		{Name: "fast_flush_domains", Value: pf.Empty()},
		{Name: "virtual_mailbox_domains", Value: pf.Word(table(fileDomains))},
		{Name: "virtual_mailbox_maps", Value: pf.Word(table(fileMailboxes))},
		{Name: "virtual_transport", Value: lmtpTo(transportIncoming, portIncoming)},
	}
}

func receiving() []pf.Parameter {
	return []pf.Parameter{
		{Name: "disable_vrfy_command", Value: pf.Bool(true)},
		{Name: "smtpd_helo_required", Value: pf.Bool(true)},
		{Name: "smtpd_etrn_restrictions", Value: pf.Word("reject")},
		// No address is ever probed. By default the sender of probes, double-bounce at this host, is a recipient that everybody may write to.
		{Name: "address_verify_sender", Value: pf.Empty()},
		// An unknown recipient is not refused: a certified envelope to one must end in a signed notice (errore-consegna), and
		// ordinary mail to one is refused by the milter.
		{Name: "smtpd_reject_unlisted_recipient", Value: pf.Bool(false)},
		{Name: "smtpd_relay_restrictions", Value: pf.Join(pf.Text("check_recipient_access "+table(fileElsewhere)), pf.Word("reject_unauth_destination"))},
		{Name: "smtpd_tls_security_level", Value: pf.Word("may")},
		{Name: "smtpd_tls_chain_files", Value: pf.List(tlsDir+"/tls.key", tlsDir+"/tls.crt")},
		{Name: "smtpd_tls_auth_only", Value: pf.Bool(true)},
		{Name: "smtpd_tls_mandatory_protocols", Value: pf.Word(">=TLSv1.2")},
		{Name: "smtpd_tls_loglevel", Value: pf.Int(1)},
		{Name: "smtpd_sasl_auth_enable", Value: pf.Bool(false)},
		{Name: "smtpd_sasl_type", Value: pf.Word("dovecot")},
		{Name: "smtpd_sasl_path", Value: pf.Word("inet:" + loopback(portAuth))},
		{Name: "smtpd_sasl_security_options", Value: pf.Word("noanonymous")},
		{Name: "smtpd_sender_login_maps", Value: pf.Word(table(fileSenders))},
		// Without its engine the stack accepts nothing: what no milter recorded could not be certified.
		{Name: "milter_default_action", Value: pf.Word("tempfail")},
		{Name: "milter_connect_macros", Value: pf.Macros("j", "daemon_name", "daemon_addr", "v", "client_addr", "client_name", "client_port")},
		{Name: "milter_mail_macros", Value: pf.Macros("i", "auth_type", "auth_authen", "mail_addr", "client_addr")},
		{Name: "milter_rcpt_macros", Value: pf.Macros("i", "rcpt_addr", "rcpt_host", "rcpt_mailer", "auth_authen")},
		{Name: "milter_data_macros", Value: pf.Macros("i", "auth_authen", "client_addr")},
		{Name: "milter_end_of_header_macros", Value: pf.Macros("i", "auth_authen", "client_addr")},
		{Name: "milter_end_of_data_macros", Value: pf.Macros("i", "auth_authen", "client_addr")},
	}
}

func sending() []pf.Parameter {
	return []pf.Parameter{
		// DNS only: the resolver of a pod would try the cluster's search domains with the names of remote servers.
		{Name: "smtp_host_lookup", Value: pf.Word("dns")},
		{Name: "smtp_tls_security_level", Value: pf.Word("may")},
		// To the domains of the providers' index it goes encrypted or not at all; the engine keeps the list.
		{Name: "smtp_tls_policy_maps", Value: pf.Word(table(filePolicy))},
		// Only the engine tells a sender what became of a message. A bounce for a mailbox of ours goes to it anyway; by this one
		// for a stranger does too, instead of leaving.
		{Name: "sender_dependent_default_transport_maps", Value: pf.InlineTable("<>", transportIncoming+":inet:"+loopback(portIncoming))},
		{Name: "smtp_delivery_status_filter", Value: pf.Word("regexp:" + postfixDir + "/" + fileLoops)},
		{Name: "smtp_tls_CAfile", Value: pf.Word("/etc/ssl/certs/ca-certificates.crt")},
		{Name: "smtp_tls_loglevel", Value: pf.Int(1)},
	}
}

// engineTransport bounds a transport to the engine. Its concurrency stays below the ten deliveries at once that Dovecot allows
// one user; above, deliveries are answered 451 and wait.
func engineTransport(name string, l settings.Limits) []pf.Parameter {
	return []pf.Parameter{
		{Name: name + "_destination_recipient_limit", Value: pf.Int(acceptedRecipients(l) + 1)},
		{Name: name + "_destination_concurrency_limit", Value: pf.Int(8)},
	}
}
