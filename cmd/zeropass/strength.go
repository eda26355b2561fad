package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"zeropass.dev/zeropass/internal/passphrase"
)

const hintWeak = "Take six random words, which zeropass passphrase suggest chooses, or a whole sentence that nobody else has said."

// guessable notes names that a stranger would try first, and the words in them.
func (a *app) guessable(names ...string) {
	for _, name := range names {
		a.guesses = append(append(a.guesses, name), strings.FieldsFunc(name, func(r rune) bool {
			return !unicode.IsLetter(r) && !unicode.IsDigit(r)
		})...)
	}
}

// choosePassphrase is chooseFor for a passphrase of this device: one that is
// easily guessed is refused. The passphrase that is known already may be chosen
// again, and is not judged: others say whether it may.
func (a *app) choosePassphrase(ctx context.Context, file, flag, what string) ([]byte, error) {
	for {
		fresh, err := a.chooseFor(ctx, file, flag, what)
		if err != nil || bytes.Equal(fresh, a.passphrase) {
			return fresh, err
		}
		switch passphrase.Judge(fresh, append([]string{"zeropass", string(a.passphrase)}, a.guesses...)...) {
		case passphrase.Strong:
			return fresh, nil
		case passphrase.Fair:
			a.warn("whoever copies this device's directory may guess this passphrase with much patience; zeropass passphrase suggest chooses a better one.")
			return fresh, nil
		}
		clear(fresh)
		if file != "" {
			return nil, fail(exitFailed, hintWeak, "the passphrase in %s is easily guessed", file)
		}
		a.tell("This is easily guessed. Take a whole sentence that nobody else has said, or")
		words, err := passphrase.Suggest(rand.Reader)
		if err != nil {
			return nil, err
		}
		a.tell("random words, such as: " + words)
	}
}

func passphraseSuggestCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "suggest",
		Short: "Suggest a passphrase of six random words",
		Long: `Suggest a passphrase of six random words. Guessing it takes about 10^18 tries. It
is stored nowhere.`,
		Args: takesNothing,
		RunE: a.run(func(*cobra.Command, []string) error {
			words, err := passphrase.Suggest(rand.Reader)
			if err != nil {
				return err
			}
			return a.show(map[string]string{"passphrase": words}, func() { a.say("%s", words) })
		}),
	}
}
