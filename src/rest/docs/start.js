// Nothing may leave for another host: no validator badge, no remote configuration.
window.ui = SwaggerUIBundle({
  // Beside the page, whether the page's own address ends in a slash or not.
  url: new URL("../openapi.json", document.currentScript.src).href,
  dom_id: "#swagger-ui",
  validatorUrl: null,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  tryItOutEnabled: true,
});
