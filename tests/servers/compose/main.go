// Loads a Compose file as the specification says, and prints what of this folder it mounts or builds.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

func main() {
	options, err := cli.NewProjectOptions(os.Args[1:], cli.WithWorkingDirectory("."), cli.WithResolvedPaths(true))
	if err != nil {
		log.Fatal(err)
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	for name, service := range project.Services {
		fmt.Println("service", name)
		if service.Build != nil {
			fmt.Println("path", service.Build.Context+"/"+service.Build.Dockerfile)
		}
		for _, volume := range service.Volumes {
			if volume.Type == types.VolumeTypeBind {
				fmt.Println("path", volume.Source)
			}
		}
		for _, port := range service.Ports {
			fmt.Println("port", port.HostIP, port.Published)
		}
	}
}
