package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"zeropass.dev/zeropass/internal/entropy"
)

const entropyLong = `The server's half of every seed comes from physical sources of randomness, together
with the operating system's generator. Each source runs the health tests of NIST SP
800-90B all the time; one that fails is not used any more until the server starts
again, and the log says so.

Sources are hwrng (the kernel's hardware generator), tpm, processor (its
instruction), jitter (of this machine's clock) and file:PATH, a device, file or pipe
of your own. Without --entropy all of them are tried that need no path. The
min-entropy that a source is taken to have, in bits for each byte, is low on
purpose: hwrng, tpm and processor 4, jitter 0.25, a file 1.`

// entropyOptions are the flags that choose sources.
type entropyOptions struct {
	sources []string
	allowOS bool
}

func (o *entropyOptions) add(flags *pflag.FlagSet) {
	flags.StringArrayVar(&o.sources, "entropy", nil, "a source of randomness, KIND[:PATH][,min-entropy=BITS]; give it once for each")
	flags.BoolVar(&o.allowOS, "allow-os-entropy", false, "go on with the operating system's generator alone when no physical source is sound")
}

// open starts the sources.
func (o *entropyOptions) open(log *slog.Logger) (*entropy.Service, error) {
	specs := entropy.DefaultSpecs()
	if len(o.sources) > 0 {
		specs = nil
	}
	for _, text := range o.sources {
		spec, err := entropy.ParseSpec(text)
		if err != nil {
			return nil, usage("For instance --entropy hwrng --entropy file:/dev/rng0,min-entropy=2", "--entropy %s: %v", text, err)
		}
		specs = append(specs, spec)
	}
	s, err := entropy.New(entropy.Config{System: rand.Reader, Sources: specs, AllowOS: o.allowOS, Log: log})
	if errors.Is(err, entropy.ErrNoPhysical) {
		return nil, fail(exitFailed,
			"See what is wrong with zeropass-server entropy status. To go on with the operating system's generator alone, which devices then show to their owners, give --allow-os-entropy.",
			"%v", err)
	}
	return s, err
}

func entropyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "entropy",
		Short: "Look at the sources of randomness of this machine",
		Long:  entropyLong,
		Args:  noArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(entropyStatusCommand(), entropySampleCommand(), entropyTestCommand())
	return c
}

// sourceView is one source as it is shown.
type sourceView struct {
	Source     string   `json:"source"`
	MinEntropy float64  `json:"min_entropy"` // bits for each byte, stated
	Sound      bool     `json:"sound"`
	Cause      string   `json:"cause,omitempty"`
	Repetition int      `json:"repetition_cutoff"`
	Proportion int      `json:"proportion_cutoff"`
	Samples    int      `json:"samples,omitempty"`
	Estimate   *float64 `json:"estimate,omitempty"` // bits for each byte, most common value
}

func newSourceView(s entropy.Status) sourceView {
	v := sourceView{Source: s.String(), MinEntropy: s.MinEntropy, Sound: s.Sound, Repetition: s.Repetitions, Proportion: s.Proportion}
	if s.Cause != nil {
		v.Cause = strings.ReplaceAll(s.Cause.Error(), "\n", ": ")
	}
	return v
}

// looking opens the sources for a command that only looks at them.
func (o *entropyOptions) looking() (*entropy.Service, error) {
	o.allowOS = true
	return o.open(slog.New(slog.DiscardHandler))
}

func entropyStatusCommand() *cobra.Command {
	var o entropyOptions
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Run the start-up tests of every source, and say which are sound",
		Long: `Run the start-up tests of every source that this machine has, and say which are
sound. It ends with 1 if none is. It does not touch a server that runs; that one
says in its log what happens to its sources.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := o.looking()
			if err != nil {
				return err
			}
			defer func() { _ = s.Close() }()
			var views []sourceView
			for _, status := range s.Status() {
				views = append(views, newSourceView(status))
			}
			return printSources(c.OutOrStdout(), asJSON, views)
		},
	}
	o.add(c.Flags())
	_ = c.Flags().MarkHidden("allow-os-entropy")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func entropyTestCommand() *cobra.Command {
	var o entropyOptions
	var asJSON bool
	var count int
	c := &cobra.Command{
		Use:   "test",
		Short: "Draw many raw samples of every source, and estimate their min-entropy",
		Long: `Draw many raw samples of every source under its health tests, and estimate their
min-entropy by how often the most common one came (NIST SP 800-90B, section 6.3.1).
The estimate finds bias and nothing else; it says that a source is worth less than
what is stated, never that it is worth as much. It ends with 1 if a source fails or
is worth less.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if count < 1000 {
				return usage("A million says something: --samples 1000000", "%d samples are too few", count)
			}
			s, err := o.looking()
			if err != nil {
				return err
			}
			defer func() { _ = s.Close() }()
			return printSources(c.OutOrStdout(), asJSON, sampleAll(s, count))
		},
	}
	o.add(c.Flags())
	_ = c.Flags().MarkHidden("allow-os-entropy")
	c.Flags().IntVar(&count, "samples", 1_000_000, "how many bytes to draw of each source")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// sampleAll draws samples of every sound source and estimates them.
func sampleAll(s *entropy.Service, count int) []sourceView {
	var views []sourceView
	for i, status := range s.Status() {
		if !status.Sound {
			views = append(views, newSourceView(status))
			continue
		}
		samples, err := s.Sample(i, count)
		view := newSourceView(s.Status()[i])
		if err == nil {
			estimate := entropy.MostCommonValue(samples)
			clear(samples)
			view.Samples, view.Estimate = count, &estimate
			if estimate < view.MinEntropy {
				view.Sound, view.Cause = false, "it is worth less than what is stated"
			}
		}
		views = append(views, view)
	}
	return views
}

// printSources prints what was found, and fails if that is not good.
func printSources(out io.Writer, asJSON bool, views []sourceView) error {
	sound, failed := 0, 0
	for _, v := range views {
		if v.Sound {
			sound++
		} else if v.Samples > 0 {
			failed++
		}
	}
	if asJSON {
		if err := json.NewEncoder(out).Encode(views); err != nil {
			return err
		}
	} else {
		for _, v := range views {
			v.print(out)
		}
	}
	switch {
	case failed > 0:
		return fail(exitFailed, "State less with --entropy KIND,min-entropy=BITS, or do not use it.", "%d sources are worth less than what is stated", failed)
	case sound == 0:
		return fail(exitFailed, "A server on this machine gives no halves of seeds, unless it is started with --allow-os-entropy.", "%v", entropy.ErrNoPhysical)
	}
	return nil
}

func (v *sourceView) print(out io.Writer) {
	switch {
	case v.Estimate != nil:
		state := "sound"
		if !v.Sound {
			state = "NOT GOOD"
		}
		fmt.Fprintf(out, "%-24s %s: %.2f bits in a byte by %d samples, %g stated\n", v.Source, state, *v.Estimate, v.Samples, v.MinEntropy)
	case v.Sound:
		fmt.Fprintf(out, "%-24s sound: %g bits in a byte stated; fails at %d repetitions, or %d of 512 the same\n", v.Source, v.MinEntropy, v.Repetition, v.Proportion)
	default:
		fmt.Fprintf(out, "%-24s not used: %s\n", v.Source, v.Cause)
	}
}

func entropySampleCommand() *cobra.Command {
	var o entropyOptions
	var count int
	c := &cobra.Command{
		Use:   "sample",
		Short: "Write what devices would get, for a test of yours",
		Long: `Write bytes as they would go into seeds, conditioned from all sound sources, to
standard output; they are used for nothing else. For instance, with rng-tools:

  zeropass-server entropy sample --bytes 2500000 | rngtest --blockcount=1000`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if count < 1 {
				return usage("For instance --bytes 2500000", "%d bytes cannot be written", count)
			}
			s, err := o.open(slog.New(slog.DiscardHandler))
			if err != nil {
				return err
			}
			defer func() { _ = s.Close() }()
			return writeHalves(c.OutOrStdout(), s, count)
		},
	}
	o.add(c.Flags())
	c.Flags().IntVar(&count, "bytes", 2_500_000, "how many to write")
	return c
}

func writeHalves(out io.Writer, s *entropy.Service, count int) error {
	for count > 0 {
		half, _, err := s.Half()
		if err != nil {
			return err
		}
		n, err := out.Write(half[:min(count, len(half))])
		clear(half)
		if err != nil {
			return err
		}
		count -= n
	}
	return nil
}
