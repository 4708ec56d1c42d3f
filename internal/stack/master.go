package stack

import (
	"strconv"

	"github.com/pec-operator/pec-operator/internal/settings"
	pf "github.com/pec-operator/pec-operator/internal/stack/postfixconf"
)

// masterServices are the entries of master.cf. What needs a local user, a mail program or a database file of Postfix' own is
// not there: local, virtual, pipe, pickup, verify.
func masterServices(l settings.Limits) []pf.Service {
	return append([]pf.Service{
		{Name: strconv.Itoa(portMX), Kind: pf.Inet, Command: "smtpd", Overrides: mxOverrides()},
		{Name: strconv.Itoa(portSubmissions), Kind: pf.Inet, Command: "smtpd", Overrides: submissionOverrides(l)},
		{Name: loopback(portReinject), Kind: pf.Inet, Command: "smtpd", Overrides: reinjectionOverrides()},
		{Name: transportAccess, Kind: pf.Unix, Command: "lmtp", Overrides: filterOverrides()},
		{Name: transportIncoming, Kind: pf.Unix, Command: "lmtp", Overrides: filterOverrides()},
	}, machinery()...)
}

// mxOverrides are those of the port that other servers deliver to. It offers no DSN, because only the engine says what became
// of a message, and no CHUNKING, which carries bare line feeds past the normalisation.
func mxOverrides() []pf.Parameter {
	return []pf.Parameter{
		{Name: "syslog_name", Value: pf.Word("postfix/mx")},
		{Name: "smtpd_milters", Value: pf.Word("inet:" + loopback(portMilterMX))},
		{Name: "smtpd_discard_ehlo_keywords", Value: pf.List("dsn", "smtputf8", "chunking", "etrn", "silent-discard")},
	}
}

// submissionOverrides are those of the port that mailbox holders send through. Without 8BITMIME a client encodes its text, and
// the original fits a 7-bit envelope as it is.
func submissionOverrides(l settings.Limits) []pf.Parameter {
	return []pf.Parameter{
		{Name: "syslog_name", Value: pf.Word("postfix/submissions")},
		{Name: "smtpd_tls_wrappermode", Value: pf.Bool(true)},
		{Name: "smtpd_sasl_auth_enable", Value: pf.Bool(true)},
		{Name: "smtpd_milters", Value: pf.Word("inet:" + loopback(portMilterSubmit))},
		{Name: "content_filter", Value: lmtpTo(transportAccess, portAccess)},
		{Name: "smtpd_discard_ehlo_keywords", Value: pf.List("dsn", "smtputf8", "8bitmime", "chunking", "etrn", "silent-discard")},
		{Name: "message_size_limit", Value: pf.Int(acceptedSize(l))},
		{Name: "smtpd_client_restrictions", Value: pf.List("permit_sasl_authenticated", "reject")},
		{Name: "smtpd_sender_restrictions", Value: ownSender()},
		{Name: "smtpd_relay_restrictions", Value: pf.List("permit_sasl_authenticated", "reject")},
		{Name: "smtpd_recipient_restrictions", Value: pf.Word("reject_non_fqdn_recipient")}, // a name alone would get this host's
		// All of the above is asked with a recipient, and not with every one: postmaster is taken from anybody. This is asked of each message.
		{Name: "smtpd_data_restrictions", Value: pf.Join(ownSender(), pf.List("permit_sasl_authenticated", "reject"))},
	}
}

// ownSender refuses what is not sent by the mailbox that logged in, or by one that may not send. The empty sender has no owner to compare
// with the login.
func ownSender() pf.Value {
	return pf.Join(
		pf.Word("reject_sender_login_mismatch"),
		pf.Text("check_sasl_access "+table(fileRefusals)),
		pf.Inline("check_sender_access", "<>", "550 5.7.1 certified mail needs a sender"))
}

// reinjectionOverrides are those of the port that the engine sends through: DSN is offered here, so that a failure comes back
// with the envelope identifier that the engine gave.
func reinjectionOverrides() []pf.Parameter {
	return []pf.Parameter{
		{Name: "syslog_name", Value: pf.Word("postfix/reinject")},
		{Name: "smtpd_tls_security_level", Value: pf.Word("none")},
		{Name: "smtpd_discard_ehlo_keywords", Value: pf.List("smtputf8", "etrn", "silent-discard")},
		{Name: "smtpd_client_restrictions", Value: pf.List("permit_mynetworks", "reject")},
		// What the engine sends with the empty sender, notifications, leaves by the recipient's domain. Otherwise it would be taken for
		// a bounce of Postfix' own, which goes back to the engine.
		{Name: "smtpd_sender_restrictions", Value: pf.Inline("check_sender_access", "<>", "FILTER smtp:")},
		{Name: "smtpd_relay_restrictions", Value: pf.List("permit_mynetworks", "reject")},
		{Name: "receive_override_options", Value: pf.List("no_unknown_recipient_checks", "no_header_body_checks", "no_milters")},
		{Name: "smtpd_client_connection_count_limit", Value: pf.Int(0)},
		{Name: "smtpd_client_connection_rate_limit", Value: pf.Int(0)},
	}
}

func filterOverrides() []pf.Parameter {
	return []pf.Parameter{
		{Name: "lmtp_data_done_timeout", Value: pf.Period(filterReply)},
		{Name: "lmtp_tls_security_level", Value: pf.Word("none")},
	}
}

// machinery is what Postfix itself is made of.
func machinery() []pf.Service {
	return []pf.Service{
		{Name: "cleanup", Kind: pf.Unix, Public: true, ProcessLimit: "0", Command: "cleanup"},
		{Name: "qmgr", Kind: pf.Unix, Public: true, Wakeup: "300", ProcessLimit: "1", Command: "qmgr"},
		{Name: "tlsmgr", Kind: pf.Unix, Wakeup: "1000?", ProcessLimit: "1", Command: "tlsmgr"},
		{Name: "rewrite", Kind: pf.Unix, Command: "trivial-rewrite"},
		{Name: "bounce", Kind: pf.Unix, ProcessLimit: "0", Command: "bounce"},
		{Name: "defer", Kind: pf.Unix, ProcessLimit: "0", Command: "bounce"},
		{Name: "trace", Kind: pf.Unix, ProcessLimit: "0", Command: "bounce"},
		{Name: "proxymap", Kind: pf.Unix, Command: "proxymap"},
		{Name: "smtp", Kind: pf.Unix, Command: "smtp"},
		{Name: "relay", Kind: pf.Unix, Command: "smtp"},
		{Name: "showq", Kind: pf.Unix, Public: true, Command: "showq"},
		{Name: "error", Kind: pf.Unix, Command: "error"},
		{Name: "retry", Kind: pf.Unix, Command: "error"},
		{Name: "discard", Kind: pf.Unix, Command: "discard"},
		{Name: "anvil", Kind: pf.Unix, ProcessLimit: "1", Command: "anvil"},
		{Name: "scache", Kind: pf.Unix, ProcessLimit: "1", Command: "scache"},
		{Name: "postlog", Kind: pf.UnixDatagram, Public: true, ProcessLimit: "1", Command: "postlogd"},
	}
}
