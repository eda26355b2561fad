package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func configCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "config",
		Short: "Look at the settings",
		Args:  noArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(configCheckCommand())
	return c
}

func configCheckCommand() *cobra.Command {
	var o serveOptions
	c := configured(&cobra.Command{
		Use:   "check",
		Short: "Print the settings that serve would take from here, and check them",
		Long: `Print every setting that serve would run with, and where it comes from, as a settings
file; secrets are printed as [secret]. Then check them as far as that goes without
data and without the network: files that are named must be there and fit. It takes
the same flags as serve.` + settingsUsage,
		Args: noArgs,
	})
	o.add(c.Flags())
	c.PreRunE = nil // RunE wants to know where they come from
	c.RunE = func(c *cobra.Command, _ []string) error {
		from, err := configure(c.Flags())
		if err != nil {
			return err
		}
		if err := printSettings(c.OutOrStdout(), c.Flags(), from, o.json); err != nil {
			return err
		}
		return o.tryOut()
	}
	return c
}

// tryOut checks everything that serve would refuse before it opens the data.
func (o *serveOptions) tryOut() error {
	if err := o.check(); err != nil {
		return err
	}
	if o.tlsCert != "" {
		if _, err := o.certificates(); err != nil {
			return err
		}
	}
	if _, err := o.alarms.mail(); err != nil {
		return err
	}
	if err := o.data.database.check(); err != nil {
		return err
	}
	if err := checkApart(o.data.dir, o.data.keyPath()); o.data.dir != "" && err != nil {
		return err
	}
	places, err := o.alarms.openPlaces()
	if err != nil {
		return err
	}
	return places.Close()
}

// settingView is one setting as it is shown.
type settingView struct {
	Value any    `json:"value"`
	From  string `json:"from"`
}

func printSettings(out io.Writer, flags *pflag.FlagSet, from origins, asJSON bool) error {
	views := map[string]settingView{}
	var err error
	settings().VisitAll(func(known *pflag.Flag) {
		f := flags.Lookup(known.Name)
		view := viewSetting(f, from[f.Name])
		if view.Value == "" && isSecret(f) {
			return
		}
		views[f.Name] = view
		if asJSON || err != nil {
			return
		}
		// JSON's strings, numbers and lists are TOML's as well.
		var text []byte
		if text, err = json.Marshal(view.Value); err == nil {
			_, err = fmt.Fprintf(out, "%-44s # %s\n", f.Name+" = "+string(text), view.From)
		}
	})
	if asJSON && err == nil {
		err = json.NewEncoder(out).Encode(views)
	}
	return err
}

func viewSetting(f *pflag.Flag, from string) settingView {
	view := settingView{Value: f.Value.String(), From: from}
	switch {
	case isList(f):
		view.Value = append([]string{}, f.Value.(pflag.SliceValue).GetSlice()...)
	case f.Value.Type() == "bool":
		view.Value = f.Value.String() == "true"
	case f.Name == databaseFlag:
		// One with a password is refused, but not shown either.
		if u, err := url.Parse(f.Value.String()); err != nil || u.Redacted() != u.String() || u.Query().Has("password") || u.Query().Has("sslpassword") {
			view.Value = "[secret]"
		}
	}
	return view
}
