package main

import (
	"errors"

	"github.com/spf13/cobra"

	"zeropass.dev/zeropass/internal/agent"
)

func lockCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "lock",
		Short: "End the agent: this device needs its passphrase again",
		Long: `End the agent that "zeropass unlock" started. It erases its keys first. A command
that is at work through it fails; what it did before stands.`,
		Args: takesNothing,
		RunE: a.run(func(*cobra.Command, []string) error {
			dir, err := a.homeDir()
			if err != nil {
				return err
			}
			client, err := agent.Dial(dir)
			if err == nil {
				defer client.Erase()
				err = client.Lock()
			} else if errors.Is(err, agent.ErrNotRunning) {
				return a.show(map[string]bool{"locked": true, "was_locked": true}, func() { a.say("This device was locked already.") })
			}
			if err != nil {
				return agentFailure(err)
			}
			return a.show(map[string]bool{"locked": true, "was_locked": false}, func() { a.say("This device is locked.") })
		}),
	}
}
