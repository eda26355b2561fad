package main

import (
	"github.com/spf13/pflag"

	"zeropass.dev/zeropass/internal/notify"
	"zeropass.dev/zeropass/internal/server"
)

// alarmOptions are the flags of serve that say how alarms leave.
type alarmOptions struct {
	server, tls, from, user string
	password                secret
	private                 bool
	places                  string
}

func (o *alarmOptions) add(flags *pflag.FlagSet) {
	flags.StringVar(&o.server, "smtp-server", "", "mail server for alarms, smtp.example.org:587 for one; without it the server sends no mail")
	flags.StringVar(&o.tls, "smtp-tls", notify.StartTLS, "starttls, implicit, or none for a mail server on this machine")
	flags.StringVar(&o.from, "smtp-from", "", "address that alarms come from")
	flags.StringVar(&o.user, "smtp-user", "", "user name at the mail server")
	o.password.add(flags, "smtp-password", "the mail server's password", "")
	flags.BoolVar(&o.private, "webhook-private", false, "let webhooks reach private networks and this machine; every user can name an address there")
	flags.StringVar(&o.places, "places", "", "file in the MaxMind DB format that knows the countries of addresses")
}

// mail returns the mail server's settings, nil without one.
func (o *alarmOptions) mail() (*notify.Mail, error) {
	if o.server == "" {
		return nil, nil
	}
	m := &notify.Mail{Server: o.server, TLS: o.tls, From: o.from, User: o.user}
	if o.user != "" {
		password, err := o.password.read()
		if err != nil {
			return nil, err
		}
		if password == "" {
			return nil, usage("Give --smtp-password-file, or systemd's LoadCredential=smtp-password:FILE.", "--smtp-user needs a password")
		}
		m.Password = password
	}
	if err := m.Check(); err != nil {
		return nil, usage("For instance --smtp-server smtp.example.org:587 --smtp-from alarms@example.org", "the settings of the mail server do not fit: %v", err)
	}
	return m, nil
}

// openPlaces opens the file with countries, nil without one.
func (o *alarmOptions) openPlaces() (*server.Places, error) {
	if o.places == "" {
		return nil, nil
	}
	p, err := server.OpenPlaces(o.places)
	if err != nil {
		return nil, fail(exitFailed, "It is a file in the MaxMind DB format that has countries.", "--places %s: %v", o.places, err)
	}
	return p, nil
}
