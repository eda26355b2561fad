package main

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"zeropass.dev/zeropass/internal/notify"
	"zeropass.dev/zeropass/internal/server"
)

// alarmOptions are the flags of serve that say how alarms leave.
type alarmOptions struct {
	server, tls, from, user, passwordFile string
	private                               bool
	places                                string
}

// smtpCredential is the name of systemd's credential with the mail server's
// password.
const smtpCredential = "smtp-password"

func (o *alarmOptions) add(flags *pflag.FlagSet) {
	flags.StringVar(&o.server, "smtp-server", "", "mail server for alarms, smtp.example.org:587 for one; without it the server sends no mail")
	flags.StringVar(&o.tls, "smtp-tls", notify.StartTLS, "starttls, implicit, or none for a mail server on this machine")
	flags.StringVar(&o.from, "smtp-from", "", "address that alarms come from")
	flags.StringVar(&o.user, "smtp-user", "", "user name at the mail server")
	flags.StringVar(&o.passwordFile, "smtp-password-file", "", "file with the password there; without it systemd's credential "+smtpCredential)
	flags.BoolVar(&o.private, "webhook-private", false, "let webhooks reach private networks and this machine; every user can name an address there")
	flags.StringVar(&o.places, "places", "", "file in the MaxMind DB format that knows the countries of addresses")
}

// fromEnvironment sets flags that were not given from ZEROPASS_SERVER_ and their
// name, ZEROPASS_SERVER_SMTP_SERVER for one.
func fromEnvironment(flags *pflag.FlagSet) error {
	var errs []error
	flags.VisitAll(func(f *pflag.Flag) {
		name := "ZEROPASS_SERVER_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		value, ok := os.LookupEnv(name)
		if !ok || f.Changed {
			return
		}
		if err := flags.Set(f.Name, value); err != nil {
			errs = append(errs, usage("Give it as the flag takes it.", "%s does not fit --%s", name, f.Name))
		}
	})
	return errors.Join(errs...)
}

// mail returns the mail server's settings, nil without one.
func (o *alarmOptions) mail() (*notify.Mail, error) {
	if o.server == "" {
		return nil, nil
	}
	m := &notify.Mail{Server: o.server, TLS: o.tls, From: o.from, User: o.user}
	if o.user != "" {
		password, err := o.password()
		if err != nil {
			return nil, err
		}
		m.Password = password
	}
	if err := m.Check(); err != nil {
		return nil, usage("For instance --smtp-server smtp.example.org:587 --smtp-from alarms@example.org", "the settings of the mail server do not fit: %v", err)
	}
	return m, nil
}

func (o *alarmOptions) password() (string, error) {
	file := secretFile(o.passwordFile, smtpCredential)
	if file == "" {
		return "", usage("Give --smtp-password-file, or systemd's LoadCredential="+smtpCredential+":FILE.", "--smtp-user needs a password")
	}
	return readPassword(file, "the mail server's password")
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

// delivering delivers alarms until the returned function is called.
func delivering(ctx context.Context, s *server.Server) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Deliver(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}
