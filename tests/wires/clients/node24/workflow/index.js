export function getWorkflowMetadata() {
  throw new Error("this is not the real workflow: only what runs in a browser is tested");
}
