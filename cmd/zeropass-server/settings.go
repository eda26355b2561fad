package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/knadh/koanf/parsers/toml/v2"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/v2"
	gotoml "github.com/pelletier/go-toml/v2"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Where a setting comes from. What stands first wins.
const (
	fromFlag        = "command line"
	fromEnvironment = "environment"
	fromFile        = "settings file"
	fromDefault     = "default"
)

const (
	environmentPrefix = "ZEROPASS_SERVER_"
	settingsFlag      = "config" // names the file; no setting itself
	maxSettings       = 1 << 20
)

// settingsUsage is for commands that take settings.
const settingsUsage = `

Every setting is a flag of serve. One that is not on the command line comes from the
environment, --smtp-server from ZEROPASS_SERVER_SMTP_SERVER, or else from the file
that --config or ZEROPASS_SERVER_CONFIG names, in TOML: smtp-server =
"smtp.example.org:587". A flag that can be given more than once is a list in the
file, and several words in the environment. A password is never on the command line:
it is in a file that --smtp-password-file and the like name, in systemd's credential
smtp-password, in ZEROPASS_SERVER_SMTP_PASSWORD, or in the settings file if nobody
else can read that. See what is in force with zeropass-server config check.`

// layer is settings of one origin.
type layer struct {
	from   string
	values *koanf.Koanf
}

// origins says for each setting where its value comes from.
type origins map[string]string

// configured makes a command take its settings from the environment and from a
// file where the command line does not give them.
func configured(c *cobra.Command) *cobra.Command {
	c.Flags().String(settingsFlag, "", "file with settings, in TOML")
	c.PreRunE = func(c *cobra.Command, _ []string) error {
		_, err := configure(c.Flags())
		return err
	}
	return c
}

// configure sets the flags that were not given.
func configure(flags *pflag.FlagSet) (origins, error) {
	var wrong error
	from := origins{}
	flags.VisitAll(func(f *pflag.Flag) {
		from[f.Name] = fromDefault
		if f.Changed {
			from[f.Name] = fromFlag
			if _, ok := f.Value.(*secretValue); ok {
				wrong = errors.Join(wrong, usage("Everybody on this machine sees what a program is called with. Change it, and give it with --"+f.Name+"-file.", "--%s is a secret, and was on the command line", f.Name))
			}
		}
	})
	if wrong != nil {
		return nil, wrong
	}
	environment, err := environmentLayer()
	if err != nil {
		return nil, err
	}
	file, err := fileLayer(flags)
	if err != nil {
		return nil, err
	}
	for _, l := range []layer{environment, file} {
		if err := l.apply(flags, from); err != nil {
			return nil, err
		}
	}
	return from, nil
}

// settings are all that there are: the flags of serve.
func settings() *pflag.FlagSet {
	flags := pflag.NewFlagSet("settings", pflag.ContinueOnError)
	new(serveOptions).add(flags)
	return flags
}

func environmentName(setting string) string {
	return environmentPrefix + strings.ToUpper(strings.ReplaceAll(setting, "-", "_"))
}

func environmentLayer() (layer, error) {
	values := map[string]any{}
	settings().VisitAll(func(f *pflag.Flag) {
		value := os.Getenv(environmentName(f.Name))
		if value == "" {
			return
		}
		if values[f.Name] = value; isList(f) {
			words := []any{}
			for _, word := range strings.Fields(value) {
				words = append(words, word)
			}
			values[f.Name] = words
		}
	})
	k := koanf.New(".")
	return layer{fromEnvironment, k}, k.Load(confmap.Provider(values, ""), nil)
}

// settingsFile is a [koanf.Provider].
type settingsFile []byte

func (b settingsFile) ReadBytes() ([]byte, error)    { return b, nil }
func (b settingsFile) Read() (map[string]any, error) { return nil, errors.ErrUnsupported }

// fileLayer reads the file that the flag or the environment names; without one it
// is empty.
func fileLayer(flags *pflag.FlagSet) (layer, error) {
	k := koanf.New(".")
	path, err := flags.GetString(settingsFlag)
	if err != nil {
		return layer{}, err
	}
	if path == "" {
		path = os.Getenv(environmentName(settingsFlag))
	}
	if path == "" {
		return layer{fromFile, k}, nil
	}
	text, mode, err := readSettings(path)
	if err != nil {
		return layer{}, fail(exitFailed, "Name a file that the server can read.", "the settings: %v", err)
	}
	if err := k.Load(settingsFile(text), toml.Parser()); err != nil {
		// What the parser says may repeat a line, which may have a secret.
		where := ""
		if at, ok := errors.AsType[*gotoml.DecodeError](err); ok {
			row, column := at.Position()
			where = fmt.Sprintf(" at line %d, column %d", row, column)
		}
		return layer{}, usage(`A setting looks like listen = "127.0.0.1:8440", true and numbers without quotation marks, and each stands once.`, "%s is not TOML%s", path, where)
	}
	known := settings()
	for _, key := range k.Keys() {
		f := known.Lookup(key)
		if f == nil {
			return layer{}, usage(fmt.Sprintf("Did you mean %s? zeropass-server serve --help names all settings.", nearest(key, known)), "%s: there is no setting %q", path, key)
		}
		if _, secret := f.Value.(*secretValue); secret && mode.Perm()&0o007 != 0 {
			return layer{}, fail(exitFailed, "Take the file from others with chmod o= , and change the secret.", "%s has the secret %s, and everybody on this machine can read it", path, key)
		}
	}
	return layer{fromFile, k}, nil
}

func readSettings(path string) ([]byte, fs.FileMode, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = f.Close() }() // it was only read
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxSettings))
	return bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")), info.Mode(), err
}

// apply sets the flags of a command that have no value from a layer above.
func (l layer) apply(flags *pflag.FlagSet, from origins) error {
	for _, key := range l.values.Keys() {
		if file := key + "-file"; l.values.Exists(file) && isSecret(flags.Lookup(key)) {
			return usage("Keep the file.", "%s: both %s and %s are given", l.from, key, file)
		}
	}
	for _, key := range l.values.Keys() {
		f := flags.Lookup(key)
		if f == nil || above(from, flags, key, l.from) {
			continue
		}
		if err := set(f, l.values.Get(key)); err != nil {
			return usage("Give it as the flag takes it: "+f.Usage+".", "%s does not fit --%s", l.name(key), key)
		}
		from[key] = l.from
	}
	return nil
}

// above says whether a layer above another gives a setting, or, of a secret, the
// file that has it.
func above(from origins, flags *pflag.FlagSet, key, than string) bool {
	keys := []string{key}
	if isSecret(flags.Lookup(key)) {
		keys = append(keys, key+"-file")
	}
	if secret := strings.TrimSuffix(key, "-file"); isSecret(flags.Lookup(secret)) {
		keys = append(keys, secret)
	}
	return slices.ContainsFunc(keys, func(key string) bool { return from[key] != fromDefault && from[key] != than })
}

func (l layer) name(key string) string {
	if l.from == fromEnvironment {
		return environmentName(key)
	}
	return key + " in the settings file"
}

func isList(f *pflag.Flag) bool {
	_, ok := f.Value.(pflag.SliceValue)
	return ok
}

var errValue = errors.New("not a value of this setting")

// set gives a flag a value from a layer.
func set(f *pflag.Flag, value any) error {
	switch v := value.(type) {
	case []any:
		if !isList(f) {
			return errValue
		}
		var words []string
		for _, word := range v {
			text, ok := word.(string)
			if !ok {
				return errValue
			}
			words = append(words, text)
		}
		return f.Value.(pflag.SliceValue).Replace(words)
	case string, bool, int64, float64:
		if isList(f) {
			return errValue
		}
		return f.Value.Set(fmt.Sprint(v))
	}
	return errValue
}

// nearest returns the setting that is most like a word.
func nearest(word string, known *pflag.FlagSet) string {
	distances := map[string]int{}
	known.VisitAll(func(f *pflag.Flag) { distances[f.Name] = distance(word, f.Name) })
	return slices.MinFunc(slices.Sorted(maps.Keys(distances)), func(a, b string) int { return distances[a] - distances[b] })
}

// distance is how many letters must be changed, added or taken away.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			changed := corner
			if a[i] != b[j] {
				changed++
			}
			corner = row[j+1]
			row[j+1] = min(changed, row[j]+1, corner+1)
		}
	}
	return row[len(b)]
}
